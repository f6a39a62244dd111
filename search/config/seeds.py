"""Seeds for everything that is drawn in a search, each from its own stream, none shared."""

from __future__ import annotations

from typing import Literal

import numpy as np

SeedPurpose = Literal[
    "training", "search", "selection", "report", "baseline", "choice", "retraining", "fresh"
]

# Each purpose draws from an interval of its own below 2³¹, so that no episode seen in one can return
# in another.
_PURPOSES: tuple[SeedPurpose, ...] = (
    "training",
    "search",
    "selection",
    "report",
    "baseline",
    "choice",
    "retraining",
    "fresh",
)
_WIDTH = 2**28


def draw(seed: int, purpose: SeedPurpose, count: int, *key: int) -> tuple[int, ...]:
    """Draws distinct seeds.

    Args:
        seed: The search's.
        purpose: What they are for; different purposes never share a seed.
        count: How many.
        *key: Tells draws of one purpose apart, such as (member, segment).

    Returns:
        `count` different integers in [0, 2³¹), the same at every call.
    """
    index = _PURPOSES.index(purpose)
    generator = generator_for(seed, purpose, *key)
    found: dict[int, None] = {}
    while len(found) < count:
        found |= dict.fromkeys(generator.integers(0, _WIDTH, count - len(found)).tolist())
    return tuple(index * _WIDTH + value for value in found)


def generator_for(seed: int, purpose: SeedPurpose, *key: int) -> np.random.Generator:
    """A generator of its own for a purpose and key (NumPy's SeedSequence, spawn keys ≥ 0)."""
    spawn_key = (_PURPOSES.index(purpose), *(k + 1 for k in key))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=spawn_key))
