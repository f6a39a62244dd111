"""Actions drawn from a policy's distribution, each episode from its own seed.

RLlib's distributions draw from torch's global generator, so that an episode would depend on which others
run beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import tree
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical
from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor

# The stream of an episode's actions, beside its environment's and those of `rllib_ext.envs.shifted`.
STREAM = 2


class Draws:
    """Draws the actions of several episodes.

    Args:
        module: RLModule, for its distribution.
    """

    def __init__(self, module: RLModule) -> None:
        self._module = module
        self._distribution: Any = module.get_exploration_action_dist_cls()
        self._generators: list[np.random.Generator] = []
        self._torch_state = torch.random.get_rng_state()

    def begin(self, seeds: Sequence[int]) -> None:
        """Starts as many episodes as there are seeds, numbered from 0."""
        self._generators = [np.random.default_rng([seed, STREAM]) for seed in seeds]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.default_rng([*seeds, STREAM]).integers(2**62)))
            self._torch_state = torch.random.get_rng_state()

    def outputs(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The module's outputs for exploring.

        A module that draws actions itself does so from a stream that the seeds of all episodes fix
        together, and leaves torch's global generator as it was.
        """
        with torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(self._torch_state)
            outputs: dict[str, Any] = self._module.forward_exploration(batch)
            self._torch_state = torch.random.get_rng_state()
        return outputs

    def actions(self, logits: Tensor, episodes: Sequence[int]) -> Any:
        """One action an episode.

        Args:
            logits: The distribution's inputs, a row an episode.
            episodes: Their numbers.

        Returns:
            What the distribution's `sample` would give, in shape, type and nesting.
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
        return tree.map_structure(lambda *parts: torch.cat(parts), *rows)


def _categorical(logits: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """The inverse of the distribution function at a uniform draw."""
    shares = torch.softmax(logits.double(), dim=-1).cumsum(dim=-1)
    drawn = torch.tensor([generator.random() for generator in generators], dtype=torch.float64)
    drawn = drawn.reshape(-1, *[1] * (logits.ndim - 1))
    # The last share is 1 but for rounding.
    return (drawn >= shares[..., :-1]).sum(dim=-1)
