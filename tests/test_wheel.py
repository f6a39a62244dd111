"""The wheel: what it holds, and that the command runs from it where no checkout is."""

import email
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest
from house import PACKAGES, ROOT, modules

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built without the network."""
    place = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index",
         "--wheel-dir", str(place), str(ROOT)],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    (built,) = place.glob("prunefront-*.whl")
    return built


@pytest.fixture(scope="module")
def command(wheel, tmp_path_factory):
    """Runs `prunefront` of a fresh environment that has only the wheel of its own.

    What the wheel depends on is this environment's, which comes after it on the path.
    """
    place = tmp_path_factory.mktemp("installed")
    venv.create(place / "venv", with_pip=False)
    ours = place / "venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = ours / "site-packages"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(place / "venv" / "bin" / "python"),
         "install", "--no-deps", "--no-index", str(wheel)],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    # A line of a .pth file is only a folder: the editable checkout, a .pth there, isn't followed.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}

    def run(*words):
        return subprocess.run(
            [str(place / "venv" / "bin" / "prunefront"), *words],
            cwd=elsewhere, env=variables, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    run.python = place / "venv" / "bin" / "python"
    run.site = site
    run.cwd = elsewhere
    return run


def test_it_holds_the_packages_the_configurations_and_the_licence_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {path.relative_to(ROOT).as_posix() for path in modules().values()} <= names
    configs = {f"search/configs/{path.name}" for path in (ROOT / "configs").iterdir()}
    assert configs <= names
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    tops = {name.split("/")[0] for name in names}
    (info,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {*PACKAGES, info}
    assert f"{info}/licenses/LICENSE" in names


def test_it_says_whose_it_is_and_under_which_licence(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        said = email.message_from_string(archive.read(name).decode())
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Author"] == "The prunefront authors"
    cited = (ROOT / "CITATION.cff").read_text()
    assert f"version: {said['Version']}\n" in cited
    assert f"## {said['Version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_its_own_code_runs_and_not_the_checkouts(command):
    code = "import prunefront as p, search as s, rllib_ext as r; print(*(m.__file__ for m in (p, s, r)))"
    told = subprocess.run(
        [str(command.python), "-c", code], cwd=command.cwd, capture_output=True, text=True, check=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
    ).stdout.split()  # fmt: skip
    assert [path.startswith(str(command.site)) for path in told] == [True] * 3


def test_a_configuration_that_comes_along_is_checked_by_its_name(command):
    ended = command("check", "smoke")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("smoke: CartPole-v1, strategy pareto_pbt, seed 0\n")


@pytest.mark.parametrize("beside", ["search.py", "search/__init__.py", "rllib_ext.py"])
def test_files_of_its_packages_names_in_the_working_directory_are_passed_by(command, beside):
    path = command.cwd / beside
    path.parent.mkdir(exist_ok=True)
    path.write_text("raise RuntimeError('not ours')\n")
    try:
        ended = command("check", "smoke")
    finally:
        path.unlink()
    assert ended.returncode == 0, ended.stderr


def test_its_version_is_said(command, wheel):
    assert wheel.name.split("-")[1] in command("--version").stdout
