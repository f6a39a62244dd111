"""Where an export goes: whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from rllib_ext.base.aside import PART, written_aside


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
