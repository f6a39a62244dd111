"""Values of a pruning configuration that a tuner has yet to draw.

Ray Tune's search spaces, such as `tune.uniform(0.5, 0.99)` or `{"grid_search": [0.5, 0.9]}`, stand for
them until then. They are known here by what they have: this package imports nothing of Ray.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from rllib_ext.pruning.errors import ConfigError

# Of any dataclass that checks itself when it is made.
Config = TypeVar("Config", bound=Any)
_GRID = "grid_search"
# So many combinations of ends are tried; of more, one value apart from the lowest and the highest.
_MOST = 256


def is_drawn(value: Any) -> bool:
    """Whether a value is one of Ray Tune's search spaces."""
    if isinstance(value, Mapping):
        return set(value) == {_GRID}
    return hasattr(value, "domain_str") and hasattr(value, "sample")


def drawn_fields(config: Any) -> tuple[str, ...]:
    """Names of a dataclass's fields that are yet to be drawn."""
    names = [field.name for field in dataclasses.fields(config)]
    return tuple(name for name in names if is_drawn(getattr(config, name)))


def possible(config: Config) -> list[Config]:
    """Returns the configurations at the ends of all search spaces; only `config` if it has none.

    What has no ends, such as `tune.sample_from`, has its default.

    Args:
        config: A dataclass that refuses wrong values when it is made.

    Raises:
        ConfigError: An end goes with no others; the message says why.
    """
    names = drawn_fields(config)
    if not names:
        return [config]
    usual = {field.name: field.default for field in dataclasses.fields(config)}
    choices = {name: _ends(getattr(config, name)) or (usual[name],) for name in names}
    made: list[Config] = []
    refused: dict[tuple[str, int], ConfigError] = {}
    fine: set[tuple[str, int]] = set()
    for places in _combinations([len(values) for values in choices.values()]):
        picked = list(zip(names, places, strict=True))
        try:
            made.append(
                dataclasses.replace(config, **{name: choices[name][i] for name, i in picked})
            )
        except ConfigError as error:
            refused.update(dict.fromkeys(picked, error))
        else:
            fine.update(picked)
    hopeless = [why for end, why in refused.items() if end not in fine]
    if hopeless:
        raise hopeless[0]
    return made


def refuse_undrawn(config: Any) -> None:
    """Checks whether all values are there.

    Raises:
        ConfigError: One is yet to be drawn.
    """
    names = drawn_fields(config)
    if names:
        raise ConfigError(
            f"pruning: {names[0]} = {getattr(config, names[0])!r} is yet to be drawn, which only a "
            "tuner does: Tuner('PPO', param_space=config).fit(). Expected a value; give one to build an "
            "algorithm by itself."
        )


def _combinations(counts: list[int]) -> list[tuple[int, ...]]:
    if math.prod(counts) <= _MOST:
        return list(itertools.product(*map(range, counts)))
    # What is bounded by another value goes with the other's end on the same side.
    sides = ([0] * len(counts), [count - 1 for count in counts])
    return [
        (*side[:at], place, *side[at + 1 :])
        for side in sides
        for at, count in enumerate(counts)
        for place in range(count)
    ]


def _ends(space: Any) -> tuple[Any, ...]:
    if isinstance(space, Mapping):
        return tuple(space[_GRID])
    if hasattr(space, "categories"):
        return tuple(space.categories)
    low, high = getattr(space, "lower", math.nan), getattr(space, "upper", math.nan)
    if not (math.isfinite(low) and math.isfinite(high)):
        return ()
    # Only where values are rounded can the upper end itself be drawn.
    if hasattr(getattr(space, "sampler", None), "q"):
        return (low, high)
    return (low, high - 1) if isinstance(low, int) else (low, math.nextafter(high, low))
