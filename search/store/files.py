"""Writes files atomically: an existing file is replaced completely or not at all."""

from __future__ import annotations

from pathlib import Path

from rllib_ext.base.aside import ASIDE, write_aside

__all__ = ["ASIDE", "write_aside", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text to a temporary file and renames it."""
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))
