"""Files in a user's folder that are called as prunefront's own packages are."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from command_line import BRIEF, ROOT, SMOKE, assert_refused, environment, prunefront

import prunefront as door
import rllib_ext
import search
from rllib_ext.pruning.errors import ConfigError
from search.cluster.own_packages import hidden, hint_at_hidden, refuse_hidden

BESIDE = ("search.py", "search/__init__.py", "rllib_ext.py", "rllib_ext/__init__.py")
ENVIRONMENT = """
import gymnasium
import helper

class Pole(gymnasium.Wrapper):
    def __init__(self):
        super().__init__(gymnasium.make(helper.ID))
"""


@pytest.fixture
def script(tmp_path_factory):
    """The console script, as an installer writes it."""
    module, _, function = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "scripts"
    ]["prunefront"].partition(":")
    path = tmp_path_factory.mktemp("bin") / "prunefront"
    path.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    return path


def put(folder, name, text="raise RuntimeError('somebody else')\n"):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def run(words, cwd, *path):
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, cwd=cwd, check=False,
        env=environment(*path), timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("beside", BESIDE)
def test_the_command_finds_its_own_packages_first(beside, script, tmp_path):
    put(tmp_path, beside)
    ended = run([script, "keys", "budget.seconds"], tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("budget.seconds  ")


@pytest.mark.parametrize("beside", BESIDE)
def test_so_does_python_m_prunefront(beside, tmp_path):
    put(tmp_path, beside)
    ended = run(["-m", "prunefront", "keys", "budget.seconds"], tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("budget.seconds  ")


@pytest.mark.parametrize("beside", ["rllib_ext.py", "rllib_ext/__init__.py", "prunefront.py"])
def test_so_does_python_m_search_where_no_other_search_lies(beside, tmp_path):
    put(tmp_path, beside)
    ended = run(["-m", "search", "keys", "budget.seconds"], tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("budget.seconds  ")


def test_a_path_that_begins_with_the_working_directory_changes_nothing(script, tmp_path):
    put(tmp_path, "search.py")
    put(tmp_path, "rllib_ext.py")
    ended = run([script, "keys", "budget.seconds"], tmp_path, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_script_beside_a_search_of_its_own_takes_all_from_prunefront(tmp_path):
    put(tmp_path, "search.py")
    put(tmp_path, "rllib_ext.py")
    put(tmp_path, "helper.py", "WORD = 'mine'\n")
    code = (
        "import prunefront, sys; before = list(sys.path)\n"
        "from prunefront import PruningConfig, load; from prunefront.export import load as run\n"
        "import helper; print(helper.WORD, PruningConfig(final_sparsity=0.5).final_sparsity)\n"
        "assert sys.path == before and sys.path[0] == ''"
    )
    ended = run(["-c", code], tmp_path)
    assert (ended.stdout, ended.stderr) == ("mine 0.5\n", "")


def test_one_process_cannot_have_both_and_is_told_which_file_to_rename(tmp_path):
    theirs = put(tmp_path, "search.py", "WORD = 'mine'\n")
    ended = run(["-c", "import search; import prunefront"], tmp_path)
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: {theirs} was imported as 'search'")
    assert "Rename that file" in last


def test_it_passes_on_what_both_packages_offer():
    offered = {*search.__all__, *rllib_ext.__all__, "PrunefrontError"}
    assert set(door.__all__) == offered
    for name in search.__all__:
        assert getattr(door, name) is getattr(search, name)
    for name in rllib_ext.__all__:
        assert getattr(door, name) is getattr(rllib_ext, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = door.nonsense


@pytest.mark.parametrize("beside", BESIDE)
def test_what_is_hidden_and_asked_for_is_refused_with_its_path(beside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = beside.partition("/")[0].removesuffix(".py")
    path = put(tmp_path, beside)
    named = path if path.parent == tmp_path else path.parent
    assert hidden(tmp_path) == {name: named}
    with pytest.raises(ConfigError, match=f"env = 'x': {named} can't be imported.*Rename it"):
        refuse_hidden(f"{name}.walks", "env = 'x'")
    refuse_hidden("walks.search", "env = 'x'")
    assert f"`import {name}` gives prunefront's own package and not {named}" in hint_at_hidden()


def test_nothing_is_hidden_in_a_checkout_nor_by_a_folder_without_modules(tmp_path):
    assert hidden(ROOT) == {}
    put(tmp_path, "search/results.csv", "")
    assert hidden(tmp_path) == {}


@pytest.fixture
def place(tmp_path):
    """A working directory with files of both names, and an environment that needs a third one."""
    put(tmp_path, "search.py")
    put(tmp_path, "rllib_ext.py")
    put(tmp_path, "helper.py", "ID = 'CartPole-v1'\n")
    put(tmp_path, "walks.py", ENVIRONMENT)
    values = yaml.safe_load(SMOKE.read_text())
    put(tmp_path, "mine.yaml", yaml.safe_dump({**values, "env": "walks:Pole"}))
    return tmp_path


@pytest.mark.e2e
@pytest.mark.parametrize("engine", ["rllib", "packed"])
def test_a_search_runs_beside_files_of_its_names_and_trains_in_the_users_environment(
    engine, place, script
):
    out = place / "out"
    words = ["search", "mine.yaml", *BRIEF, f"engine={engine}", "--output", out]
    ended = run([script, *words], place)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == f"report: {out / 'report.html'}"
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["status"], manifest["failures"]) == ("finished", [])


@pytest.mark.e2e
def test_an_environment_that_takes_their_module_for_its_own_is_told_which(place):
    put(place, "search.py", "ID = 'CartPole-v1'\n")
    put(place, "helper.py", "from search import ID\n")
    assert_refused(
        prunefront("check", "mine.yaml", cwd=place),
        "env = 'walks:Pole': cannot be imported (ImportError: cannot import name 'ID'",
        f"and not {place / 'search.py'}: rename that.",
    )
    assert_refused(
        prunefront("check", "mine.yaml", "env=search:Pole", cwd=place),
        f"env = 'search:Pole': {place / 'search.py'} can't be imported in a search",
    )


def test_a_worker_loads_ours_without_importing_anything_first(tmp_path):
    """As Ray sends it: by value, to a process that knows nothing of us."""
    code = (
        "import ray.cloudpickle, sys\n"
        "from search.cluster.own_packages import held_in_workers\n"
        "sys.stdout.buffer.write(ray.cloudpickle.dumps(held_in_workers()))"
    )
    made = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment(), check=True
    )
    put(tmp_path, "search.py")
    put(tmp_path, "rllib_ext.py")
    told = (
        "import pickle, sys; hold = pickle.loads(sys.stdin.buffer.read())\n"
        "assert not {'search', 'rllib_ext'} & set(sys.modules); hold()\n"
        "sys.path.insert(0, '.'); import rllib_ext.pruning.config, search; print(search.__file__)"
    )
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ended = subprocess.run(
        [sys.executable, "-c", told], input=made.stdout, capture_output=True, cwd=tmp_path,
        env=variables, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert Path(ended.stdout.decode().strip()) == ROOT / "search" / "__init__.py"
