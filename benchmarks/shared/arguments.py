"""Argument types that the benchmarks' command lines share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path


def one_of(known: Iterable[str]) -> Callable[[str], str]:
    """Returns the type of an argument that names a case; `choices` would refuse a default of several.

    Args:
        known: Names of the cases.

    Returns:
        A function for argparse that returns the name unchanged.

    Raises:
        argparse.ArgumentTypeError: Raised by the returned function for an unknown name.
    """
    names = list(known)

    def parse(name: str) -> str:
        if name not in names:
            raise argparse.ArgumentTypeError(f"{name!r}; expected one of {', '.join(names)}")
        return name

    return parse


def one_of_or_a_file(known: Iterable[str]) -> Callable[[str], str]:
    """Like `one_of`, for an argument that may also be the path of an existing file."""
    names = tuple(known)

    def parse(text: str) -> str:
        if text in names or Path(text).is_file():
            return text
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected one of {', '.join(names)}, or a file that is there"
        )

    return parse
