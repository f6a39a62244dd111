"""Reports and configuration load neither Ray nor torch: each module in a fresh interpreter."""

import subprocess
import sys

import pytest

# The modules that CONTRIBUTING.md ("The house") keeps free of Ray and torch. Add what is made.
LIGHT_MODULES = [
    "rllib_ext",
    "rllib_ext.aside",
    "rllib_ext.hints",
    "rllib_ext.pruning",
    "rllib_ext.pruning.config",
    "rllib_ext.pruning.drawn",
    "rllib_ext.pruning.errors",
    "rllib_ext.ranges",
    "rllib_ext.segment",
    "rllib_ext.shift",
    "search",
    "search.archive",
    "search.began_with",
    "search.cli",
    "search.config",
    "search.config_file",
    "search.confirm",
    "search.coordinator",
    "search.folder",
    "search.front",
    "search.generalisation",
    "search.member",
    "search.settings",
    "search.strategies",
    "search.keys",
    "search.levels",
    "search.ledger",
    "search.lineage",
    "search.losses",
    "search.parameter",
    "search.population",
    "search.recipes",
    "search.report",
    "search.report.comparison",
    "search.report.earlier",
    "search.report.importance",
    "search.report.write",
    "search.results",
    "search.retrain",
    "search.seeds",
    "search.space",
    "search.study",
    "search.tables",
    "search.writer",
]
# Torch without Ray: the pruning core serves whoever trains the policy.
RAYLESS_MODULES = [
    "rllib_ext.pruning.criteria",
    "rllib_ext.pruning.decide",
    "rllib_ext.pruning.masks",
    "rllib_ext.pruning.optimizer",
    "rllib_ext.pruning.patience",
    "rllib_ext.pruning.pruner",
    "rllib_ext.pruning.schedules",
    "rllib_ext.pruning.scope",
]


def loaded_by(module, among):
    """Which of some packages a fresh interpreter has loaded after importing a module."""
    code = (
        "import importlib, sys; importlib.import_module(sys.argv[1]); "
        "print(*[name for name in sys.argv[2:] if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, module, *among], capture_output=True, text=True, check=True
    )
    return run.stdout.split()


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_module_loads_neither_ray_nor_torch(module):
    assert loaded_by(module, ["ray", "torch", "gymnasium"]) == []


@pytest.mark.parametrize("module", RAYLESS_MODULES)
def test_pruning_core_loads_neither_ray_nor_gymnasium(module):
    assert loaded_by(module, ["ray", "gymnasium"]) == []


def test_the_check_can_fail():
    assert loaded_by("rllib_ext.learner", ["ray", "torch"]) == ["ray", "torch"]


def test_the_check_sees_torch_without_ray():
    assert loaded_by("rllib_ext.pruning.masks", ["ray", "torch"]) == ["torch"]


def test_a_missing_module_is_not_passed_over():
    with pytest.raises(subprocess.CalledProcessError):
        loaded_by("search.no_such_module", ["ray"])
