"""Actions drawn from a policy's distribution, each episode from its own seed.

RLlib's distributions draw from torch's global generator, so that an episode would depend on which others
run beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor

# The stream of an episode's actions, beside its environment's and those of `rllib_ext.shifted`.
STREAM = 2


class Draws:
    """Draws the actions of several episodes.

    Args:
        module: Names the distribution.
    """

    def __init__(self, module: RLModule) -> None:
        self._distribution: Any = module.get_exploration_action_dist_cls()
        self._generators: list[np.random.Generator] = []

    def begin(self, seeds: Sequence[int]) -> None:
        """Starts as many episodes as there are seeds, numbered from 0."""
        self._generators = [np.random.default_rng([seed, STREAM]) for seed in seeds]

    def actions(self, logits: Tensor, episodes: Sequence[int]) -> Tensor:
        """One action an episode.

        Args:
            logits: The distribution's inputs, a row an episode.
            episodes: Their numbers.

        Returns:
            What the distribution's `sample` would give, in shape and type.
        """
        generators = [self._generators[i] for i in episodes]
        if issubclass(self._distribution, TorchCategorical):
            return _categorical(logits, generators)
        rows = []
        for row, generator in enumerate(generators):
            # The global generator is as it was afterwards.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(generator.integers(2**62)))
                rows.append(self._distribution.from_logits(logits[row : row + 1]).sample())
        return torch.cat(rows)


def _categorical(logits: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """The inverse of the distribution function at a uniform draw."""
    shares = torch.softmax(logits.double(), dim=-1).cumsum(dim=-1)
    drawn = torch.tensor([generator.random() for generator in generators], dtype=torch.float64)
    drawn = drawn.reshape(-1, *[1] * (logits.ndim - 1))
    # The last share is 1 but for rounding.
    return (drawn >= shares[..., :-1]).sum(dim=-1)
