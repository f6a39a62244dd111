"""Gradients of PPO's loss, written out: what autograd makes of `rllib_ext.packed.loss.losses`."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from rllib_ext.packed.distributions import DistributionKind
from rllib_ext.packed.loss import Coefficients, Minibatch


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossGradient:
    """Computes gradients of the members' losses.

    Attributes:
        distribution: Distribution that the actions were drawn from.
        coefficients: The members' loss coefficients.
        entropy: Whether any member's entropy has a weight.
        divergence: Whether any member's divergence has one.
    """

    distribution: DistributionKind
    coefficients: Coefficients
    entropy: bool
    divergence: bool

    @classmethod
    def of(cls, distribution: DistributionKind, coefficients: Coefficients) -> LossGradient:
        """For members whose coefficients are looked at once; those of some of them can be put in."""
        return cls(
            distribution=distribution,
            coefficients=coefficients,
            entropy=bool((coefficients.entropy != 0).any()),
            divergence=bool((coefficients.divergence != 0).any()),
        )

    def __call__(self, inputs: Tensor, values: Tensor, batch: Minibatch) -> tuple[Tensor, Tensor]:
        """The gradients of each member's total loss.

        Where two terms of a minimum are equal, either's gradient is right, and so is this one.

        Args:
            inputs: The current policy's, of shape (rows, batch, inputs).
            values: The current value estimates, of shape (rows, batch).
            batch: Minibatch that the members train on.

        Returns:
            Those with regard to `inputs` and to `values`, of their shapes.
        """
        weights = self.coefficients
        share = batch.counted / batch.counted.sum(1, keepdim=True)
        current = self.distribution(inputs)
        ratio = current.log_probability(batch.actions).sub_(batch.log_probabilities).exp_()
        clip = weights.clip.unsqueeze(1)
        # Clipping takes the gradient only where the ratio has gone as far as the advantage asks for.
        moves = torch.where(batch.advantages > 0, ratio <= 1.0 + clip, ratio >= 1.0 - clip)
        of_log = (batch.advantages * ratio).mul_(share).mul_(moves).neg_()
        found = current.gradient_of_log_probability(batch.actions, of_log)
        if self.entropy:
            found = found + current.gradient_of_entropy(share * -weights.entropy.unsqueeze(1))
        if self.divergence:
            weight = share * weights.divergence.unsqueeze(1)
            found = found + current.gradient_of_divergence(batch.inputs, weight)
        if batch.taught is not None:
            weight = share * weights.teaching.unsqueeze(1)
            found = found + current.gradient_of_divergence(batch.taught, weight)
        error = values - batch.targets
        within = error * error <= weights.value_clip.unsqueeze(1)
        of_value = error.mul_(share).mul_(2.0 * weights.value.unsqueeze(1)).mul_(within)
        return found, of_value
