"""Names of users' own code in messages."""

from __future__ import annotations

from typing import Any


def path_of(code: Any) -> str:
    """A class or a function as "package.module:Name"; of a partial call, or an object, what it calls."""
    known = code if hasattr(code, "__qualname__") else getattr(code, "func", type(code))
    return f"{known.__module__}:{known.__qualname__}"
