"""Checks that searched and fixed values are compatible. Imports neither Ray nor torch."""

from __future__ import annotations

from collections.abc import Iterable

from search.config.space import ONLY_UNDER, ORDERED, Space


def refuse_contradictory(space: Space) -> None:
    """Refuses parameters that never act, and pairs of ranges without any values in the required order.

    Raises:
        ValueError: A searched parameter never acts, or the bounds of two contradict each other.
    """
    for path in space.parameters:
        if path not in ONLY_UNDER:
            continue
        decider, under = ONLY_UNDER[path]
        found = space.reach(decider)
        if not set(under) & set(found):
            name = decider.partition(".")[2]
            raise ValueError(
                f"search.space: {path} acts under {decider}={' or '.join(under)} only, but the {name} "
                f"is {', '.join(map(str, found))}; leave it out, or search the {name} too"
            )
    for lower, upper in ORDERED:
        least, most = min(numbers_of(lower, space)), max(numbers_of(upper, space))
        if least > most:
            raise ValueError(
                f"search.space: {lower} is at least {least:g}, but {upper} at most {most:g}; expected "
                f"ranges that allow {lower} <= {upper}"
            )


def numbers_of(path: str, space: Space) -> Iterable[float]:
    """Yields the ends (or choices) of a searched number, or the fixed number.

    Raises:
        ValueError: A value is text, not a number.
    """
    for value in space.reach(path):
        if isinstance(value, str):
            raise ValueError(f"search.space: {path} can't be {value!r}; expected numbers")
        yield float(value)
