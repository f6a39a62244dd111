"""Single values of a pruning configuration, looked at one by one."""

from __future__ import annotations

import difflib

from rllib_ext.pruning.errors import ConfigError


def check_choice(name: str, value: object, choices: tuple[str | None, ...]) -> None:
    """Refuses what is none of some choices, naming the nearest.

    Raises:
        ConfigError: It is none.
    """
    if value not in choices:
        names = [str(choice) for choice in choices]
        near = difflib.get_close_matches(str(value), names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"pruning: {name} = {value!r}; expected one of {', '.join(names)}.{hint}")


def check_range(
    name: str,
    value: float,
    low: float,
    high: float,
    *,
    low_open: bool = False,
    high_open: bool = False,
) -> None:
    """Refuses what is no number within an interval, whose ends belong to it unless they are open.

    Raises:
        ConfigError: It is none.
    """
    above = value > low if low_open else value >= low
    below = value < high if high_open else value <= high
    if isinstance(value, bool) or not (above and below):
        interval = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"
        raise ConfigError(f"pruning: {name} = {value!r}; expected a number in {interval}.")
