"""What benchmarks' command lines have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable


def one_of(known: Iterable[str]) -> Callable[[str], str]:
    """The type of an argument that names a case; `choices` would refuse a default of several.

    Args:
        known: Names of the cases.

    Returns:
        For argparse: gives the name back.

    Raises:
        argparse.ArgumentTypeError: By what is returned, where a name isn't known.
    """
    names = list(known)

    def parse(name: str) -> str:
        if name not in names:
            raise argparse.ArgumentTypeError(f"{name!r}; expected one of {', '.join(names)}")
        return name

    return parse
