"""Describes a configuration's policy network in a few words and counts its prunable weights."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.rl.module.critic import critic_names
from rllib_ext.rl.prunable import fresh_network


@dataclasses.dataclass(frozen=True)
class Network:
    """A policy network, from observation to action.

    Attributes:
        shapes: Shape of each prunable weight matrix of the policy path, in the module's order.
    """

    shapes: tuple[tuple[int, ...], ...]

    @property
    def total(self) -> int:
        """Number of prunable weights on the policy path."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def layers(self) -> int:
        """Number of weight matrices on the policy path, from observation to action."""
        return len(self.shapes)

    @property
    def in_words(self) -> str:
        """Description such as "4→64→64→2"; number and kinds of layers unless they are a linear chain."""
        flat = bool(self.shapes) and all(len(shape) == 2 for shape in self.shapes)
        if flat and all(b[1] == a[0] for a, b in itertools.pairwise(self.shapes)):
            return "→".join(map(str, [self.shapes[0][1], *(shape[0] for shape in self.shapes)]))
        kernels = sum(len(shape) > 2 for shape in self.shapes)
        told = f"{len(self.shapes)} weight matrices"
        return f"{told}, {kernels} of them convolutions" if kernels else told


def network_of(ppo: PPOConfig, exclude: Sequence[str] = ()) -> Network:
    """Returns the policy network that a Learner of a configuration starts with.

    Args:
        ppo: Any PPO configuration of the new API stack with one policy.
        exclude: Shell patterns over parameter names; matching parameters are not pruned.

    Raises:
        ConfigError: RLlib can't build the network, or a pattern matches nothing.
    """
    module, _ = fresh_network(ppo)
    policy = prunable_weights(module, critic_names(module), exclude).policy
    return Network(tuple(tuple(map(int, weight.shape)) for weight in policy.values()))
