"""Action distributions over stacked members: what RLlib's Categorical and DiagGaussian compute.

Everything here broadcasts over leading dimensions. Noise is drawn apart, for each member from its own
seed, so that a member's actions don't depend on who else is in the pack.
"""

from __future__ import annotations

import functools
import math
from typing import Protocol

import torch
from torch import Tensor
from typing_extensions import override

from rllib_ext.packed.draws import Draws, Purpose


class Distribution(Protocol):
    """Distributions of actions, one for each row of what the policy head gives."""

    def sample(self, noise: Tensor) -> Tensor:
        """Actions, as RLlib stores them in a batch; `noise` as the kind gives it."""
        ...

    def log_probability(self, actions: Tensor) -> Tensor:
        """Log-probability (density) of actions."""
        ...

    def entropy(self) -> Tensor:
        """Entropy in nats."""
        ...

    def divergence_from(self, inputs: Tensor) -> Tensor:
        """Kullback–Leibler divergence KL(that of `inputs` ‖ this) in nats."""
        ...

    def gradient_of_log_probability(self, actions: Tensor, weight: Tensor) -> Tensor:
        """The gradient, with regard to the inputs, of the weighted log-probability of actions.

        Args:
            actions: Actions, as for `log_probability`.
            weight: A weight each, of the shape that `log_probability` gives.

        Returns:
            A tensor of the inputs' shape; of the two below likewise.
        """
        ...

    def gradient_of_entropy(self, weight: Tensor) -> Tensor:
        """The gradient, with regard to the inputs, of the weighted entropy."""
        ...

    def gradient_of_divergence(self, inputs: Tensor, weight: Tensor) -> Tensor:
        """The gradient, with regard to the own inputs, of the weighted `divergence_from(inputs)`."""
        ...


class DistributionKind(Protocol):
    """A class of distributions."""

    def __call__(self, inputs: Tensor) -> Distribution:
        """The distributions of some inputs, of shape (…, width)."""
        ...

    def noise(self, draws: Draws, shape: tuple[int, ...], width: int) -> Tensor:
        """Noise for as many actions of each member as `shape` has elements.

        Args:
            draws: The members'.
            shape: The shape of a member's batch.
            width: Number of inputs of the distribution.

        Returns:
            A tensor of shape (members, *shape, …), float64.
        """
        ...


class Categorical(Distribution):
    """Over integers from 0 on.

    Args:
        inputs: Logits.
    """

    def __init__(self, inputs: Tensor) -> None:
        self._inputs = inputs

    @functools.cached_property
    def _logs(self) -> Tensor:
        # Actions come first: along a last dimension as short, softmax takes ten times as long.
        return self._inputs.movedim(-1, 0).log_softmax(0)

    @staticmethod
    def noise(draws: Draws, shape: tuple[int, ...], width: int) -> Tensor:
        """Gumbel noise: the largest of logits + noise is a sample."""
        return draws.gumbel(Purpose.ACTIONS, (*shape, width))

    def sample(self, noise: Tensor) -> Tensor:
        """Integers, one dimension less than the inputs."""
        return (self._inputs + noise).argmax(dim=-1)

    @override
    def log_probability(self, actions: Tensor) -> Tensor:
        return self._logs.gather(0, actions.unsqueeze(0)).squeeze(0)

    @override
    def entropy(self) -> Tensor:
        return -(self._logs.exp() * self._logs).sum(0)

    @override
    def divergence_from(self, inputs: Tensor) -> Tensor:
        other = inputs.movedim(-1, 0).log_softmax(0)
        return (other.exp() * (other - self._logs)).sum(0)

    @override
    def gradient_of_log_probability(self, actions: Tensor, weight: Tensor) -> Tensor:
        found = self._logs.exp().mul_(-weight)
        return found.scatter_add_(0, actions.unsqueeze(0), weight.unsqueeze(0)).movedim(0, -1)

    @override
    def gradient_of_entropy(self, weight: Tensor) -> Tensor:
        logs = self._logs
        return (logs.exp() * (logs + self.entropy()) * -weight).movedim(0, -1)

    @override
    def gradient_of_divergence(self, inputs: Tensor, weight: Tensor) -> Tensor:
        other = inputs.movedim(-1, 0).softmax(0)
        return ((self._logs.exp() - other) * weight).movedim(0, -1)


class DiagonalGaussian(Distribution):
    """Over vectors.

    Args:
        inputs: Means, then log standard deviations.
    """

    def __init__(self, inputs: Tensor) -> None:
        self._mean, self._log_std = inputs.chunk(2, dim=-1)

    @staticmethod
    def noise(draws: Draws, shape: tuple[int, ...], width: int) -> Tensor:
        """Standard normal noise."""
        return draws.normal(Purpose.ACTIONS, (*shape, width // 2))

    def sample(self, noise: Tensor) -> Tensor:
        """Vectors of half the inputs' width."""
        return self._mean + self._log_std.exp() * noise

    @override
    def log_probability(self, actions: Tensor) -> Tensor:
        scaled = (actions - self._mean) / self._log_std.exp()
        return -(0.5 * scaled**2 + self._log_std + 0.5 * math.log(2.0 * math.pi)).sum(-1)

    @override
    def entropy(self) -> Tensor:
        return (self._log_std + 0.5 + 0.5 * math.log(2.0 * math.pi)).sum(-1)

    @override
    def divergence_from(self, inputs: Tensor) -> Tensor:
        mean, log_std = inputs.chunk(2, dim=-1)
        ratio = (2.0 * (log_std - self._log_std)).exp()
        shift = ((mean - self._mean) / self._log_std.exp()) ** 2
        return (0.5 * (ratio + shift - 1.0) - (log_std - self._log_std)).sum(-1)

    @override
    def gradient_of_log_probability(self, actions: Tensor, weight: Tensor) -> Tensor:
        deviation = self._log_std.exp()
        scaled = (actions - self._mean) / deviation
        found = torch.cat([scaled / deviation, scaled**2 - 1.0], dim=-1)
        return found * weight.unsqueeze(-1)

    @override
    def gradient_of_entropy(self, weight: Tensor) -> Tensor:
        of_log_std = weight.unsqueeze(-1).expand_as(self._log_std)
        return torch.cat([torch.zeros_like(self._mean), of_log_std], dim=-1)

    @override
    def gradient_of_divergence(self, inputs: Tensor, weight: Tensor) -> Tensor:
        mean, log_std = inputs.chunk(2, dim=-1)
        deviation = self._log_std.exp()
        shift = (mean - self._mean) / deviation
        ratio = (2.0 * (log_std - self._log_std)).exp()
        found = torch.cat([-shift / deviation, 1.0 - ratio - shift**2], dim=-1)
        return found * weight.unsqueeze(-1)


def distribution_for(*, discrete: bool) -> DistributionKind:
    """RLlib's choice of distribution for an action space."""
    return Categorical if discrete else DiagonalGaussian
