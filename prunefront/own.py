"""The packages `search` and `rllib_ext` beside this one, found before anybody's files of these names."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
PACKAGES = ("rllib_ext", "search")


def hold() -> None:
    """Loads both packages from beside this one, whatever lies before them on `sys.path`.

    The path stays as it was: everything else is found where it was found before.

    Raises:
        ImportError: Another module of that name is loaded already.
    """
    sys.path.insert(0, str(ROOT))
    try:
        for name in PACKAGES:
            _refuse_another(name, importlib.import_module(name))
    finally:
        sys.path.remove(str(ROOT))


def _refuse_another(name: str, loaded: ModuleType) -> None:
    place = Path(loaded.__file__ or "").parent
    if not (place.is_dir() and place.samefile(ROOT / name)):
        raise ImportError(
            f"{loaded.__file__ or name} was imported as {name!r}, which prunefront's own package is "
            f"called: one process can't have both. Rename that file, or the folder that it lies in."
        )
