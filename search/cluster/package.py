"""The package sent to a cluster: working directory, prunefront itself, other needs of a job.

One zip file, so that every node runs the same code, whatever is installed there. Imports no Ray.

Ray takes it as its `working_dir`; its own packing (2.60) would send too much. That knows the
`.gitignore` files from the working directory down: what the repository around it ignores goes along, or
what `.git/info/exclude` does, such as secrets. It tells results folders and environments by their names
alone, follows links in circles, can't add a file, and names no culprit where 500 MiB are too few.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rllib_ext.pruning.errors import ConfigError
from search.cluster.own_packages import OWN_PACKAGES
from search.store.folder import MANIFEST

# What Ray's head takes (GCS_STORAGE_MAX_SIZE in Ray 2.60's packaging.py is 500 MiB, zipped).
MOST_BYTES = 500 * 2**20
_SKIPPED = {
    ".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache",
    ".pytest_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox", ".ipynb_checkpoints",
}  # fmt: skip
# Only at the top: deeper they may be somebody's package.
_SKIPPED_AT_TOP = {"results", "wandb", "mlruns"}
_SKIPPED_SUFFIXES = (".pyc", ".egg-info", ".part", ".old")
# The oldest time that a zip file can hold: equal files give an equal package, which Ray then keeps.
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class Package:
    """A written package.

    Attributes:
        path: The zip file.
        files: Number of files in it.
        bytes: The content of the zip file.
    """

    path: Path
    files: int
    bytes: int


def write_package(root: Path, target: Path, extra: Mapping[str, str | Path] = {}) -> Package:
    """Writes what a cluster is sent.

    Left out are results folders, environments, `.git`, caches, and what git ignores.

    Args:
        root: The working directory.
        target: The zip file.
        extra: Further files by their place in the package: a text, or a file or folder to copy.

    Raises:
        ConfigError: It is too large, or another package of the working directory hides prunefront's.
    """
    found = {name: root / name for name in sorted(shipped(root))}
    for package in OWN_PACKAGES:
        found.update(_own(package, root))
    for name, given in extra.items():
        if isinstance(given, Path):
            found.update(_tree(given, name))
    texts = {name: given for name, given in extra.items() if isinstance(given, str)}
    size = sum(path.stat().st_size for path in found.values())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(found.items()):
            archive.writestr(_entry(name, path.stat().st_mode), path.read_bytes())
            if target.stat().st_size > MOST_BYTES:
                raise _too_large(root, found, size)
        for name, text in sorted(texts.items()):
            archive.writestr(_entry(name, 0o644), text)
    return Package(target, len(found) + len(texts), target.stat().st_size)


def shipped(root: Path) -> Iterator[str]:
    """Files of a working directory that a cluster is sent, relative to it."""
    for name in _under_git(root) if _in_git(root) else _walked(root):
        parts = Path(name).parts
        parents = [root.joinpath(*parts[:i]) for i in range(1, len(parts))]
        at_top = len(parts) > 1 and parts[0] in _SKIPPED_AT_TOP
        if at_top or any(map(_is_skipped, parents)) or name.endswith(_SKIPPED_SUFFIXES):
            continue
        if (root / name).is_file():
            yield name


def _is_skipped(folder: Path) -> bool:
    return (
        folder.name in _SKIPPED
        or folder.name.endswith(_SKIPPED_SUFFIXES)
        or (folder / "pyvenv.cfg").is_file()
        or ((folder / MANIFEST).is_file() and (folder / "config.yaml").is_file())
    )


def _walked(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not _is_skipped(Path(folder) / name)]
        yield from (str((Path(folder) / name).relative_to(root)) for name in files)


def _in_git(root: Path) -> bool:
    return _git(root, "rev-parse", "--is-inside-work-tree").strip() == "true"


def _under_git(root: Path) -> Iterable[str]:
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return sorted(set(filter(None, listed.split("\0"))))


def _git(root: Path, *arguments: str) -> str:
    """Returns git's output; empty without git or a repository."""
    try:
        found = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return found.stdout if found.returncode == 0 else ""


def _own(package: str, root: Path) -> dict[str, Path]:
    spec = importlib.util.find_spec(package)
    source = Path((spec and spec.origin) or "").parent
    inside = root / package
    if inside.is_dir() and not inside.samefile(source):
        raise ConfigError(
            f"{inside} would hide prunefront's own package {package!r} on the cluster. Rename it, or "
            "start from another working directory."
        )
    return _tree(source, package)


def _tree(path: Path, name: str) -> dict[str, Path]:
    if path.is_file():
        return {name: path}
    return {
        f"{name}/{file.relative_to(path)}": file
        for file in sorted(path.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (mode & 0o777) << 16
    return entry


def _too_large(root: Path, found: Mapping[str, Path], size: int) -> ConfigError:
    largest = sorted(found.items(), key=lambda item: -item[1].stat().st_size)[:3]
    listed = ", ".join(f"{name} ({path.stat().st_size / 2**20:.0f} MiB)" for name, path in largest)
    return ConfigError(
        f"the working directory {root} has {size / 2**20:,.0f} MiB to send, and a Ray cluster takes "
        f"{MOST_BYTES // 2**20} zipped. The largest files: {listed}. Let git ignore what the search "
        "does not need, or start from a smaller folder."
    )
