"""PPO's hyperparameters of members, as numbers that can be stacked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.utils.schedules.piecewise_schedule import PiecewiseSchedule
from torch import Tensor

from rllib_ext.packed.loss import Coefficients
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.settings import ranges
from rllib_ext.rl.settings.ranges import SCHEDULED

# Pairs of env steps and a value.
Schedule = Sequence[Sequence[float]]

# Settings of `PPOConfig.training` that each member has for itself.
OWN = (
    "lr",
    "gamma",
    "lambda_",
    "clip_param",
    "vf_clip_param",
    "vf_loss_coeff",
    "entropy_coeff",
    "use_kl_loss",
    "kl_coeff",
    "kl_target",
    "grad_clip",
    "num_epochs",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """PPO's hyperparameters of one member, by the names of `PPOConfig.training`.

    Attributes:
        lr: Adam's learning rate; or, as `entropy_coeff`, RLlib's schedule: pairs of env steps and value,
            linear between them, the last from there on.
        gamma: Discount.
        lambda_: Decay of the advantage estimates.
        clip_param: Largest deviation of the probability ratio from 1.
        vf_clip_param: Largest squared value error that counts; None: any.
        vf_loss_coeff: Weight of the value loss.
        entropy_coeff: Weight of the entropy.
        use_kl_loss: Whether the divergence from the policy that acted is penalised.
        kl_coeff: Initial weight of the KL penalty; it adapts to `kl_target`.
        kl_target: The divergence that is aimed at.
        grad_clip: Largest global norm of a gradient; None or 0: any.
        num_epochs: Passes over each batch.
    """

    lr: float | Schedule
    gamma: float
    lambda_: float
    clip_param: float
    vf_clip_param: float | None
    vf_loss_coeff: float
    entropy_coeff: float | Schedule
    use_kl_loss: bool
    kl_coeff: float
    kl_target: float
    grad_clip: float | None
    num_epochs: int

    def at(self, env_steps: int) -> Current:
        """Returns the hyperparameters in force at a lineage's clock."""
        values = dataclasses.asdict(self)
        return Current(**{**values, **{name: _at(values[name], env_steps) for name in SCHEDULED}})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Current(Hyperparameters):
    """Hyperparameters of one member as they are in one update: none is a schedule."""

    lr: float
    entropy_coeff: float


def _at(value: float | Schedule, env_steps: int) -> float:
    if not isinstance(value, Sequence):
        return float(value)
    return float(PiecewiseSchedule(value, outside_value=value[-1][1]).value(env_steps))


def hyperparameters_of(ppo: PPOConfig, training: Mapping[str, Any]) -> Hyperparameters:
    """A member's hyperparameters.

    Args:
        ppo: PPO configuration shared by all members.
        training: The member's own arguments of `PPOConfig.training`.

    Raises:
        ConfigError: Something in it can't be each member's own, can't be stacked at all, or is out of
            range.
    """
    for name in training:
        if name not in OWN:
            raise ConfigError(
                f"training.{name} of a single member: members of a pack share it. Set it under ppo, or "
                f"use the rllib engine. Each member's own are {', '.join(OWN)}."
            )
    config = ppo.copy(copy_frozen=False)
    config.training(**training)
    for name in OWN:
        _check(name, getattr(config, name))
    if config.grad_clip is not None and config.grad_clip_by != "global_norm":
        raise ConfigError(
            f"grad_clip_by = {config.grad_clip_by!r}: a pack clips by the global norm only. Set it to "
            "'global_norm', or use the rllib engine."
        )
    if not config.use_critic or not config.use_gae:
        raise ConfigError(
            "use_critic=False or use_gae=False: a pack has neither. Leave both as they are, or use the "
            "rllib engine."
        )
    return Hyperparameters(**{name: getattr(config, name) for name in OWN})


def _check(name: str, value: Any) -> None:
    """Refuses what would fail, or mean nothing, when the pack trains."""
    if name == "use_kl_loss":
        expected = "" if isinstance(value, bool) else "true or false"
    else:
        expected = ranges.expected(name, value)
    if expected:
        raise ConfigError(f"training.{name} = {value!r}: expected {expected}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stacked:
    """Hyperparameters of all members, each of shape (members,).

    Attributes:
        rate: Learning rates.
        discount: γ.
        decay: λ.
        largest_norm: The norm to which a gradient is clipped; infinite where it isn't.
        coefficients: The loss's coefficients.
    """

    rate: Tensor
    discount: Tensor
    decay: Tensor
    largest_norm: Tensor
    coefficients: Coefficients


def stacked(
    members: Sequence[Current],
    divergence: Sequence[float],
    like: Tensor,
    *,
    factors: Sequence[float],
    teaching: Sequence[float],
) -> Stacked:
    """Stacks hyperparameters.

    Args:
        members: One entry for each member.
        divergence: The weight of the divergence that each has come to.
        like: Gives number format and device.
        factors: By what each one's learning rate is multiplied.
        teaching: The weight of each one's divergence from its teacher.
    """

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device)

    return Stacked(
        rate=column([m.lr * factor for m, factor in zip(members, factors, strict=True)]),
        discount=column([m.gamma for m in members]),
        decay=column([m.lambda_ for m in members]),
        # As RLlib's, 0 is no limit either.
        largest_norm=column([m.grad_clip or math.inf for m in members]),
        coefficients=Coefficients(
            clip=column([m.clip_param for m in members]),
            value_clip=column(
                [math.inf if m.vf_clip_param is None else m.vf_clip_param for m in members]
            ),
            value=column([m.vf_loss_coeff for m in members]),
            entropy=column([m.entropy_coeff for m in members]),
            divergence=column(
                [d if m.use_kl_loss else 0.0 for m, d in zip(members, divergence, strict=True)]
            ),
            teaching=column(teaching),
        ),
    )


def adapted(coefficient: float, divergence: float, target: float) -> float:
    """RLlib's rule for the weight of the divergence, after an update.

    Args:
        coefficient: The weight.
        divergence: Mean over the update's last minibatch.
        target: Target of the divergence.

    Returns:
        The weight for the next update; the same where the divergence is NaN.
    """
    if divergence > 2.0 * target:
        return coefficient * 1.5
    if divergence < 0.5 * target:
        return coefficient * 0.5
    return coefficient
