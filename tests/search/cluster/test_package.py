import subprocess
import zipfile
from pathlib import Path

import pytest

import search
from rllib_ext.pruning.errors import ConfigError
from search.cluster import package as packages
from search.cluster.package import shipped, write_package


@pytest.fixture
def root(tmp_path):
    """A working directory with what a cluster needs and what it doesn't."""
    root = tmp_path / "here"
    for name in (
        "walks/__init__.py", "walks/results/__init__.py", "config.yaml", "data/map.bin",
        ".git/HEAD", ".venv/lib/torch.py", "env/pyvenv.cfg", "env/lib/torch.py",
        "walks/__pycache__/x.pyc", "results/old/policies/weights", "runs/one/manifest.json",
        "runs/one/config.yaml", "runs/one/snapshots.jsonl", ".mypy_cache/x", "mine.egg-info/PKG",
    ):  # fmt: skip
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


WANTED = {"walks/__init__.py", "walks/results/__init__.py", "config.yaml", "data/map.bin"}


def test_results_environments_and_caches_stay_at_home(root):
    assert set(shipped(root)) == WANTED


def test_what_git_ignores_stays_at_home_too(root):
    (root / ".git" / "HEAD").unlink()
    (root / ".git").rmdir()
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    (root / ".gitignore").write_text("data/\nsecrets.env\n")
    (root / "secrets.env").write_text("token")
    assert set(shipped(root)) == WANTED - {"data/map.bin"} | {".gitignore"}


def test_what_the_repository_around_it_ignores_stays_at_home_and_links_lead_nowhere(root):
    (root / ".git" / "HEAD").unlink()
    (root / ".git").rmdir()
    around = root.parent
    subprocess.run(["git", "init", "--quiet", str(around)], check=True)
    (around / ".gitignore").write_text("secrets.env\n")
    (around / ".git" / "info").mkdir(exist_ok=True)
    (around / ".git" / "info" / "exclude").write_text("mine.env\n")
    for name in ("secrets.env", "mine.env"):
        (root / name).write_text("token")
    (root / "walks" / "up").symlink_to(root)
    assert set(shipped(root)) == WANTED


def test_links_lead_nowhere_without_git_either(root):
    (root / "walks" / "up").symlink_to(root)
    assert set(shipped(root)) == WANTED


def test_a_package_holds_prunefront_and_what_is_added(root, tmp_path):
    folder = tmp_path / "checkpoint"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights").write_bytes(b"1234")
    written = write_package(
        root, tmp_path / "x.zip", {"job.yaml": "name: x\n", "checkpoint": folder}
    )
    with zipfile.ZipFile(written.path) as archive:
        names = set(archive.namelist())
        assert archive.read("job.yaml") == b"name: x\n"
        assert archive.read("checkpoint/deep/weights") == b"1234"
    own = {"prunefront/own.py", "search/__main__.py", "rllib_ext/member/trainable.py"}
    assert names >= WANTED | own
    assert not any("__pycache__" in name for name in names)
    assert written.files == len(names)
    assert written.bytes == written.path.stat().st_size


def test_equal_files_give_an_equal_package(root, tmp_path):
    first = write_package(root, tmp_path / "1.zip").path.read_bytes()
    (root / "config.yaml").touch()
    assert write_package(root, tmp_path / "2.zip").path.read_bytes() == first


def test_the_checkout_is_not_packed_twice(tmp_path):
    checkout = Path(search.__file__).parents[1]
    with zipfile.ZipFile(write_package(checkout, tmp_path / "x.zip").path) as archive:
        names = archive.namelist()
    assert len(names) == len(set(names))
    assert "search/cluster/package.py" in names
    assert not any(name.startswith(("results/", ".git/", ".venv/")) for name in names)


@pytest.mark.parametrize("name", ["search", "rllib_ext", "prunefront"])
def test_a_package_that_would_hide_prunefront_is_refused(name, root, tmp_path):
    (root / name).mkdir()
    with pytest.raises(ConfigError, match=f"would hide prunefront's own package '{name}'"):
        write_package(root, tmp_path / "x.zip")


def test_what_is_too_large_names_the_largest_files(root, tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "MOST_BYTES", 0)
    (root / "data" / "map.bin").write_bytes(bytes(3 * 2**20))
    with pytest.raises(ConfigError, match=r"largest files: data/map.bin \(3 MiB\)"):
        write_package(root, tmp_path / "x.zip")
