"""Seeds for all random draws of a search, from separate streams that never share a seed."""

from __future__ import annotations

from typing import Literal

import numpy as np

SeedPurpose = Literal[
    "training", "search", "selection", "report", "baseline", "choice", "retraining", "fresh"
]

# Each purpose draws from its own interval below 2³¹, so that no episode of one purpose can occur in
# another.
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
        seed: Seed of the search.
        purpose: Purpose of the seeds; different purposes never share a seed.
        count: Number of seeds.
        *key: Integers that distinguish draws of one purpose, such as (member, segment).

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
    """Returns the random generator of a purpose and key (NumPy's SeedSequence, spawn keys ≥ 0)."""
    spawn_key = (_PURPOSES.index(purpose), *(k + 1 for k in key))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=spawn_key))
