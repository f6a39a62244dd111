"""PPO's loss and its advantages, member by member, as RLlib's PPO torch learner computes them."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from rllib_ext.packed.distributions import DistributionKind
from rllib_ext.rl.teaching import TEACHING_LOSS

# RLlib's floor of the standard deviation by which advantages are divided.
SMALLEST_DEVIATION = 1e-4
# RLlib's name of the divergence.
DIVERGENCE = "mean_kl_loss"
# Its names of what `Losses` has.
_NAMES = {
    "total": "total_loss",
    "policy": "policy_loss",
    "value": "vf_loss",
    "value_unclipped": "vf_loss_unclipped",
    "entropy": "entropy",
    "divergence": DIVERGENCE,
    "teaching": TEACHING_LOSS,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coefficients:
    """Hyperparameters of the loss, each of shape (rows,).

    Attributes:
        clip: Largest deviation of the probability ratio from 1.
        value_clip: Largest squared value error that counts.
        value: Weight of the value loss.
        entropy: Weight of the entropy.
        divergence: Weight of the Kullback–Leibler divergence; 0 without that penalty.
        teaching: Weight of that from the teacher; 0 for who has none.
    """

    clip: Tensor
    value_clip: Tensor
    value: Tensor
    entropy: Tensor
    divergence: Tensor
    teaching: Tensor

    def of(self, rows: Tensor | slice) -> Coefficients:
        """Returns the coefficients of some members."""
        return Coefficients(
            **{f.name: getattr(self, f.name)[rows] for f in dataclasses.fields(self)}
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Minibatch:
    """Steps that members train on, each of shape (rows, batch, …).

    Attributes:
        observations: Flat observations of the policy.
        actions: Actions, as drawn from the distribution.
        inputs: The distribution's inputs at that time.
        log_probabilities: Log-probabilities of the actions at that time.
        advantages: Standardised.
        targets: Targets of the value estimate.
        counted: 1 where a step counts in the losses; 0 for what only takes a place.
        taught: The inputs of teachers' distributions; None: no member has a teacher.
    """

    observations: Tensor
    actions: Tensor
    inputs: Tensor
    log_probabilities: Tensor
    advantages: Tensor
    targets: Tensor
    counted: Tensor
    taught: Tensor | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Losses:
    """Mean losses over the counted steps of a minibatch, each of shape (rows,).

    Attributes:
        total: Loss that is minimised.
        policy: The clipped surrogate loss.
        value: The clipped value loss.
        value_unclipped: The same without clipping.
        entropy: Entropy of the current policy.
        divergence: KL(policy that acted ‖ current policy).
        teaching: KL(teacher ‖ current policy); 0 without teachers.
    """

    total: Tensor
    policy: Tensor
    value: Tensor
    value_unclipped: Tensor
    entropy: Tensor
    divergence: Tensor
    teaching: Tensor

    def by_member(self) -> list[dict[str, float]]:
        """Each member's, by the names that RLlib's learner gives them; read at once."""
        columns = torch.stack([getattr(self, name) for name in _NAMES], dim=1).tolist()
        return [dict(zip(_NAMES.values(), own, strict=True)) for own in columns]


def losses(
    distribution: DistributionKind,
    inputs: Tensor,
    values: Tensor,
    batch: Minibatch,
    coefficients: Coefficients,
) -> Losses:
    """The terms of PPO's loss (Schulman et al. 2017, arXiv 1707.06347) with RLlib's additions.

    Args:
        distribution: Distribution that the actions were drawn from.
        inputs: The current policy's, of shape (rows, batch, inputs).
        values: The current value estimates, of shape (rows, batch).
        batch: Minibatch that the members train on.
        coefficients: The members' loss coefficients.
    """
    share = batch.counted / batch.counted.sum(1, keepdim=True)
    current = distribution(inputs)
    ratio = (current.log_probability(batch.actions) - batch.log_probabilities).exp()
    clip = coefficients.clip.unsqueeze(1)
    clipped = torch.maximum(torch.minimum(ratio, 1.0 + clip), 1.0 - clip)
    policy = -_sum(torch.minimum(batch.advantages * ratio, batch.advantages * clipped), share)
    error = (values - batch.targets) ** 2
    value = _sum(torch.minimum(error, coefficients.value_clip.unsqueeze(1)), share)
    entropy = _sum(current.entropy(), share)
    divergence = _sum(current.divergence_from(batch.inputs), share)
    teaching = torch.zeros_like(policy)
    if batch.taught is not None:
        teaching = _sum(current.divergence_from(batch.taught), share)
    total = (
        policy
        + coefficients.value * value
        - coefficients.entropy * entropy
        + coefficients.divergence * divergence
        + coefficients.teaching * teaching
    )
    return Losses(
        total=total,
        policy=policy,
        value=value,
        value_unclipped=_sum(error, share),
        entropy=entropy,
        divergence=divergence,
        teaching=teaching,
    )


def _sum(values: Tensor, share: Tensor) -> Tensor:
    return (values * share).sum(1)


def advantages_of(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    discount: Tensor,
    decay: Tensor,
) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, arXiv 1506.02438).

    An episode that a time limit cuts is bootstrapped with the value of the state it was cut in; one
    that ended is not. All but the last two arguments are of shape (rows, steps, envs).

    Args:
        rewards: The reward of each step.
        values: The value of the state before it.
        next_values: The value of the state after it; where an episode was cut, of its last state, not of
            the next episode's first. What stands there after an end isn't read, as long as it is finite.
        terminated: Whether the episode ended with the step.
        truncated: Whether it was cut after the step.
        discount: γ, of shape (rows,).
        decay: λ, of shape (rows,).

    Returns:
        Advantages, not standardised; plus `values` they are the value targets.
    """
    gamma = discount.view(-1, 1, 1)
    not_terminated = (~terminated).to(values.dtype)
    td_error = rewards + gamma * not_terminated * next_values - values
    carry = (~(terminated | truncated)).to(values.dtype) * gamma * decay.view(-1, 1, 1)
    advantages = torch.empty_like(values)
    running = torch.zeros_like(values[:, 0])
    for step in range(values.shape[1] - 1, -1, -1):
        running = td_error[:, step] + carry[:, step] * running
        advantages[:, step] = running
    return advantages


def standardised(advantages: Tensor, of_bootstrap_rows: Tensor) -> Tensor:
    """A member's advantages: with those of its bootstrap rows, their mean is 0 and their deviation 1.

    Args:
        advantages: A tensor of shape (batch,), the whole batch of an update.
        of_bootstrap_rows: The member's advantages as returned by `advantages_of_bootstrap_rows`.
    """
    everything = torch.cat([advantages, of_bootstrap_rows])
    deviation = everything.std(correction=0).clamp(min=SMALLEST_DEVIATION)
    return (advantages - everything.mean()) / deviation
