"""Each wing imports what the plan allows, nothing goes in a circle, and what is light stays light."""

import shutil

import pytest
from house import (
    LOADS_NOT,
    MAY_IMPORT,
    PACKAGES,
    ROOT,
    breaches,
    circle,
    door_breaches,
    loaded_by,
    modules,
    private_parts_of_ray,
    strays,
)

WINGS = sorted(MAY_IMPORT)


@pytest.fixture
def copy(tmp_path):
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


def plant(root, module, text):
    path = (root / module.replace(".", "/")).with_suffix(".py")
    path.write_text((path.read_text() if path.is_file() else '"""Planted."""\n') + text)


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_only_what_the_plan_allows(wing):
    assert breaches(wing) == []


def test_the_door_only_passes_on_and_nobody_comes_through_it_from_inside():
    assert door_breaches() == []


def test_nothing_imports_in_a_circle_not_even_lazily():
    assert circle() == []


def test_nothing_lies_at_a_packages_root():
    assert strays() == set()


def test_private_parts_of_ray_are_imported_where_they_are_explained():
    assert private_parts_of_ray() == []


@pytest.mark.parametrize("name", LOADS_NOT)
def test_what_is_light_stays_light(name):
    assert loaded_by(name, LOADS_NOT[name]) == []


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_says_what_it_is_for(wing):
    assert modules()[wing].read_text().startswith('"""')


@pytest.mark.parametrize(
    ("module", "text", "wing"),
    [
        ("search.front.planted", "from search.report.page import page\n", "search.front"),
        ("search.report.planted", "import search.population.study\n", "search.report"),
        (
            "search.config.planted",
            "def f():\n    from search.store import folder\n",
            "search.config",
        ),
        ("search.runs.planted", "from search.cli import main\n", "search.runs"),
        ("rllib_ext.rl.planted", "from rllib_ext.policy import store\n", "rllib_ext.rl"),
        ("rllib_ext.packed.planted", "import search.front.pareto\n", "rllib_ext.packed"),
        (
            "rllib_ext.pruning.structure.planted",
            "from rllib_ext.pruning.training.pruner import Pruner\n",
            "rllib_ext.pruning.structure",
        ),
        (
            "rllib_ext.pruning.planted",
            "from rllib_ext.pruning.schedule.decide import decide\n",
            "rllib_ext.pruning",
        ),
    ],
)
def test_a_planted_arrow_upwards_is_seen(copy, module, text, wing):
    plant(copy, module, text)
    assert len(breaches(wing, copy)) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("prunefront.planted", "from search.front.read_results import read_results\n"),
        ("search.cluster.planted", "def f():\n    from prunefront.own import hold\n"),
        ("rllib_ext.base.planted", "import prunefront\n"),
    ],
)
def test_a_planted_way_around_the_door_is_seen(copy, module, text):
    plant(copy, module, text)
    assert len(door_breaches(copy)) == 1


def test_a_planted_circle_is_seen_though_it_is_lazy(copy):
    plant(copy, "search.front.pareto", "\ndef f():\n    from search.front import results\n")
    assert {"search.front.pareto", "search.front.results"} <= set(circle(copy))


def test_a_planted_stray_is_seen(copy):
    plant(copy, "search.planted", "")
    assert strays(copy) == {"search/planted.py"}


@pytest.mark.parametrize(
    "text",
    [
        "import ray._private.services\n",
        "def f():\n    from ray.tune import tune\n",
        "from ray.air.execution import ResourceRequest\n",
        "from ray.tune.registry import _global_registry\n",
    ],
)
def test_a_planted_private_part_of_ray_is_seen(copy, text):
    plant(copy, "search.training.planted", text)
    assert len(private_parts_of_ray(copy)) == 1


@pytest.mark.parametrize("package", ["ray", "torch"])
def test_planted_weight_is_seen(copy, package):
    plant(copy, "search.store.planted", f"import {package}\n")
    assert package in loaded_by("search.store", LOADS_NOT["search.store"], copy)


def test_a_missing_module_is_not_passed_over():
    with pytest.raises(AssertionError, match="no module"):
        loaded_by("search.no_such_wing", ("ray",))
