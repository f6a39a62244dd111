"""What a configuration needs is installed by `make search`, and known to the schema."""

import os
import subprocess
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from search.config.experiment import Extra

ROOT = Path(__file__).parents[1]


def commands(config, venv):
    """What `make search` would run; a make that runs these tests speaks through its variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    ended = subprocess.run(
        ["make", "--dry-run", "search", f"CONFIG={config}", f"VENV={venv}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=inherited,
    )
    return ended.stdout


def test_the_extras_of_the_schema_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for_work = {"docs", "test", "lint"}
    assert set(get_args(Extra)) == project["optional-dependencies"].keys() - for_work


@pytest.mark.parametrize(
    ("line", "extras"),
    [
        ("extras: [mujoco]", ["mujoco"]),
        ("extras: [box2d, onnx]   # both", ["box2d", "onnx"]),
        ("extras: []", []),
        ("", []),
    ],
)
def test_make_search_installs_what_a_configuration_names(tmp_path, line, extras):
    config = tmp_path / "some.yaml"
    config.write_text(f"name: some\n{line}\nenv: HalfCheetah-v5\n")
    planned = commands(config, tmp_path / "venv")
    for name in get_args(Extra):
        assert planned.count(f"'.[{name}]'") == (name in extras)
    for name in extras:
        # Once: what is installed leaves a mark.
        (tmp_path / "venv").mkdir(exist_ok=True)
        mark = tmp_path / "venv" / f".extra-{name}"
        assert str(mark) in planned
    assert planned.strip().splitlines()[-1].startswith(f"{tmp_path}/venv/bin/prunefront search")
