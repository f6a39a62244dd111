"""Places an export in its folder: whole or not at all, and never over other files."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from rllib_ext.base.aside import PART, written_aside
from rllib_ext.export.errors import ExportError
from rllib_ext.export.loading import CONTRACT


def refuse_replacing(folder: Path) -> None:
    """Looks at what has the name of an export.

    Args:
        folder: The name.

    Raises:
        ExportError: Something that is no export, and would be lost.
    """
    if not folder.exists() or (folder / CONTRACT).is_file():
        return
    if folder.is_dir() and not any(folder.iterdir()):
        return
    raise ExportError(
        f"{folder} is there, and no export: it has no {CONTRACT}, and would be replaced. Expected an "
        "earlier export or nothing in that place. Choose another --output, or move it away."
    )


@contextlib.contextmanager
def placed(folder: Path) -> Iterator[Path]:
    """A new folder that gets a name in the end; nothing stays of it where something failed before.

    Args:
        folder: The name; what has it is replaced.
    """
    try:
        with written_aside(folder) as aside:
            yield aside
    finally:
        shutil.rmtree(folder.with_name(folder.name + PART), ignore_errors=True)
