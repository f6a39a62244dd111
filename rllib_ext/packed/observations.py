"""Observations of any space as rows of numbers, which is how a pack carries them, and back again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from rllib_ext.packed.computation import refusal

Array = np.ndarray[Any, np.dtype[Any]]
Space: TypeAlias = gym.Space[Any]

# Above, single precision doesn't hold every integer.
_LARGEST_INTEGER = 2**24


def refuse_observations(space: Space) -> None:
    """Refuses spaces whose observations a row of single-precision numbers doesn't hold.

    Raises:
        ConfigError: The message names the part.
    """
    for part in _parts(space):
        numbers = isinstance(
            part,
            gym.spaces.Box
            | gym.spaces.Discrete
            | gym.spaces.MultiDiscrete
            | gym.spaces.MultiBinary,
        )
        if not numbers or np.dtype(part.dtype).kind not in "fiub" or _largest(part):
            raise refusal(
                f"the observation space {space}",
                f"Dicts and Tuples of floats, and of integers up to ±{_LARGEST_INTEGER:,}",
            )


def width_of(space: Space) -> int:
    """Numbers of an observation."""
    return sum(math.prod(part.shape or ()) for part in _parts(space))


def raveled(space: Space, observation: Any) -> Array:
    """One observation as a row: parts in their space's order, each flat; float32.

    Args:
        space: The observation's.
        observation: In the form of the space.
    """
    parts = [np.ravel(part) for part in _split(space, observation)]
    return np.concatenate(parts).astype(np.float32, copy=False)


def raveled_batch(space: Space, observations: Any) -> Tensor:
    """Returns many observations as rows of numbers.

    Args:
        space: Space of one observation.
        observations: Tensors of shape (batch, …), nested as the space is.

    Returns:
        A tensor of shape (batch, features), in the first real part's number format.
    """
    parts = [part.reshape(len(part), -1) for part in _split(space, observations)]
    real = [part for part in parts if part.is_floating_point()]
    like = real[0] if real else torch.zeros(())
    return torch.cat([part.to(like) for part in parts], dim=1)


def unraveled(space: Space, rows: Tensor) -> Any:
    """Returns observations in the form in which RLlib hands them to a module.

    Args:
        space: Space of one observation.
        rows: A tensor of shape (batch, features), as `raveled` lays them out.

    Returns:
        Tensors of shape (batch, …), nested as the space is; real numbers in the rows' format, others
        in their space's.
    """
    if isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        spaces = space.spaces
        named = spaces.items() if isinstance(spaces, dict) else enumerate(spaces)
        found: dict[Any, Any] = {}
        start = 0
        for key, part in named:
            stop = start + width_of(part)
            found[key] = unraveled(part, rows[:, start:stop])
            start = stop
        return found if isinstance(space, gym.spaces.Dict) else tuple(found.values())
    values = rows.reshape(len(rows), *(space.shape or ()))
    dtype: np.dtype[Any] = np.dtype(space.dtype)
    return values if dtype.kind == "f" else values.to(torch.from_numpy(np.empty(0, dtype)).dtype)


def _parts(space: Space) -> Iterator[Space]:
    if isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        spaces = space.spaces
        for part in spaces.values() if isinstance(spaces, dict) else spaces:
            yield from _parts(part)
    else:
        yield space


def _split(space: Space, values: Any) -> Iterator[Any]:
    if isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        spaces = space.spaces
        for key, part in spaces.items() if isinstance(spaces, dict) else enumerate(spaces):
            yield from _split(part, values[key])
    else:
        yield values


def _largest(part: Space) -> bool:
    """Whether a space has integers that single precision doesn't hold."""
    if isinstance(part, gym.spaces.Discrete):
        return max(abs(int(part.start)), abs(int(part.start + part.n))) > _LARGEST_INTEGER
    if isinstance(part, gym.spaces.MultiDiscrete):
        return bool((np.abs(part.start) + part.nvec > _LARGEST_INTEGER).any())
    if isinstance(part, gym.spaces.Box) and np.dtype(part.dtype).kind in "iu":
        bounds = np.maximum(np.abs(part.low.astype(float)), np.abs(part.high.astype(float)))
        return bool((bounds > _LARGEST_INTEGER).any())
    return False
