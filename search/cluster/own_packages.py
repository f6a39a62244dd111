"""prunefront's own packages, and files of their names that lie in a working directory.

`search` and `rllib_ext` are names that others use too. The command finds ours first (`prunefront.own`),
and so do the workers of a cluster of its own; one that is there already is sent ours. Imports no Ray.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rllib_ext.pruning.errors import ConfigError

OWN_PACKAGES = ("search", "rllib_ext", "prunefront")
_ROOT = Path(__file__).parents[2]


def held_in_workers() -> Callable[[], None]:
    """Returns the setup hook of Ray's workers on this machine, which loads our packages first.

    Ray puts the driver's working directory before everything else on a worker's path, when the first
    task comes; what is loaded by then stays.

    Returns:
        A function that Ray sends by value: a worker can't import ours before it has run.
    """
    root, names = str(_ROOT), OWN_PACKAGES

    def hold() -> None:
        import importlib
        import sys

        sys.path.insert(0, root)
        try:
            for name in names:
                importlib.import_module(name)
        finally:
            sys.path.remove(root)

    return hold


def hidden(folder: Path) -> dict[str, Path]:
    """Returns a folder's modules that prunefront's packages hide, by name.

    Args:
        folder: The working directory.
    """
    return {
        name: path
        for name in OWN_PACKAGES
        for path in (folder / name, folder / f"{name}.py")
        if path.is_file() or (any(path.glob("*.py")) and not path.samefile(_ROOT / name))
    }


def refuse_hidden(module: str, what: str) -> None:
    """Checks whether a module that is asked for can be had from the working directory.

    Args:
        module: Its name, such as "search.walks".
        what: Begins the message.

    Raises:
        ConfigError: It is one of the working directory's that prunefront's own package hides.
    """
    name = module.partition(".")[0]
    if path := hidden(Path.cwd()).get(name):
        raise ConfigError(
            f"{what}: {path} can't be imported in a search, where {name!r} is prunefront's own package. "
            "Rename it, and name it so here."
        )


def hint_at_hidden() -> str:
    """Returns a hint for the message of a failed import; empty if nothing is hidden."""
    return "".join(
        f" In a search `import {name}` gives prunefront's own package and not {path}: rename that."
        for name, path in hidden(Path.cwd()).items()
    )
