"""Updates of all members at once: epochs, minibatches, gradients, steps."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from rllib_ext.packed.adam import StackedAdam
from rllib_ext.packed.distributions import DistributionKind
from rllib_ext.packed.hyperparameters import Stacked
from rllib_ext.packed.loss import Losses, Minibatch, losses
from rllib_ext.packed.minibatch_order import MinibatchOrder
from rllib_ext.packed.network import Rows, StackedNetwork, rows_of

# What RLlib takes for a norm that has overflown.
LARGEST_NORM = 10e8


class Guard(Protocol):
    """Whoever prunes: sees gradients, masks them, and keeps weights at zero."""

    def observe(self, gradients: Tensor, batch: Minibatch, rows: Sequence[int]) -> None:
        """Takes one minibatch and its gradients, of shape (rows, parameters of one)."""
        ...

    def mask_gradients_(self, gradients: Tensor, rows: Rows) -> None:
        """Zeroes gradients of pruned weights in place."""
        ...

    def enforce_(self, rows: Rows) -> None:
        """Sets pruned weights of some members to zero again."""
        ...


class _Wide:
    """A batch as one matrix, so that a minibatch is gathered at once."""

    def __init__(self, batch: Minibatch) -> None:
        self._discrete = not batch.actions.is_floating_point()
        columns = [self._column(getattr(batch, f.name)) for f in dataclasses.fields(batch)]
        self._widths = [column.shape[-1] for column in columns]
        like = batch.observations
        # Numbers of actions are small enough to be exact as floats.
        wide = torch.cat([column.to(like) for column in columns], dim=-1)
        self._size = wide.shape[1]
        self._flat = wide.flatten(0, 1)

    def _column(self, values: Tensor) -> Tensor:
        return values.unsqueeze(-1) if values.dim() == 2 else values

    def take(self, rows: Tensor, positions: Tensor) -> Minibatch:
        """Positions as of `in_time`, of shape (rows, minibatch), of the batches of some members."""
        # Where a bootstrap row stands, the step before it is taken and not counted.
        index = (positions % self._size + rows.unsqueeze(1) * self._size).flatten()
        taken = self._flat.index_select(0, index).view(*positions.shape, -1)
        observations, actions, inputs, logs, advantages, targets, counted = torch.split(
            taken, self._widths, dim=-1
        )
        return Minibatch(
            observations=observations,
            actions=actions.squeeze(-1).long() if self._discrete else actions,
            inputs=inputs,
            log_probabilities=logs.squeeze(-1),
            advantages=advantages.squeeze(-1),
            targets=targets.squeeze(-1),
            counted=counted.squeeze(-1) * (positions < self._size),
        )


def update(
    network: StackedNetwork,
    adam: StackedAdam,
    distribution: DistributionKind,
    batch: Minibatch,
    hyperparameters: Stacked,
    order: MinibatchOrder,
    members: Sequence[int],
    guard: Guard,
) -> Losses:
    """Trains some members on their batches.

    Args:
        network: All members.
        adam: Their moments.
        distribution: What their actions were drawn from.
        batch: All members' rollouts.
        hyperparameters: All members'.
        order: Which rows make the minibatches of those that train.
        members: Those that train, ascending.
        guard: Prunes.

    Returns:
        The losses of each trained member's last minibatch, of shape (len(members),).
    """
    wide = _Wide(batch)
    last: list[tuple[list[int], Losses]] = []
    # Members with fewer epochs rest at the end; between two such ends the same ones train.
    for start, stop in itertools.pairwise(sorted({0, *order.counts})):
        training = [i for i, count in enumerate(order.counts) if count >= stop]
        numbers = [members[i] for i in training]
        rows = rows_of(numbers, network)
        own = _of(hyperparameters, rows)
        taken = torch.tensor(numbers, device=network.weights.device)
        leaves = _leaves(network, rows)
        for index in range(start, stop):
            if not isinstance(rows, slice) and index > start:
                leaves = _leaves(network, rows)
            minibatch = wide.take(taken, order.minibatch(index)[training].to(taken.device))
            inputs, values = network.act_and_value(leaves, minibatch.observations)
            found = losses(distribution, inputs, values, minibatch, own.coefficients)
            # A sum: no member's gradient contains anything of another's.
            parts = torch.autograd.grad(found.total.sum(), list(leaves.values()))
            gradients = torch.cat([part.flatten(1) for part in parts], dim=1)
            guard.observe(gradients, minibatch, numbers)
            guard.mask_gradients_(gradients, rows)
            clip_(gradients, own.largest_norm, network)
            adam.step_(gradients, own.rate, rows)
            guard.enforce_(rows)
        ended = [k for k, i in enumerate(training) if order.counts[i] == stop]
        last.append(([training[k] for k in ended], _detached(found, ended)))
    return _gathered(last, len(members))


def clip_(gradients: Tensor, largest: Tensor, network: StackedNetwork) -> None:
    """Scales each member's gradient to its largest norm and zeroes what isn't finite, in place.

    As RLlib does, parameters without a finite norm don't count in a member's norm.

    Args:
        gradients: A tensor of shape (rows, parameters of one).
        largest: Norms, of shape (rows,); infinite where nothing is clipped.
        network: Says where each parameter lies.
    """
    norms = torch.linalg.vector_norm(gradients, dim=1)
    broken = ~torch.isfinite(norms)
    if bool(broken.any()):
        norms[broken] = _norms_of_broken(gradients[broken], network)
    limited = torch.isfinite(largest)
    if bool(limited.any()):
        scale = largest / torch.maximum(norms + 1e-6, largest)
        gradients *= torch.where(limited, scale, 1.0).unsqueeze(1)
    if bool(broken.any()):
        gradients[broken] = gradients[broken].nan_to_num()


def _norms_of_broken(gradients: Tensor, network: StackedNetwork) -> Tensor:
    parts = [part.flatten(1) for part in network.parts(gradients).values()]
    norms = torch.stack([torch.linalg.vector_norm(part, dim=1) for part in parts])
    finite = norms.nan_to_num(posinf=LARGEST_NORM)
    whole: Tensor = torch.linalg.vector_norm(finite, dim=0)
    return whole.nan_to_num(posinf=LARGEST_NORM)


def _leaves(network: StackedNetwork, rows: Rows) -> Mapping[str, Tensor]:
    parts = network.parts(network.weights[rows])
    return {name: part.detach().requires_grad_() for name, part in parts.items()}


def _of(hyperparameters: Stacked, rows: Rows) -> Stacked:
    return Stacked(
        rate=hyperparameters.rate[rows],
        discount=hyperparameters.discount[rows],
        decay=hyperparameters.decay[rows],
        largest_norm=hyperparameters.largest_norm[rows],
        coefficients=hyperparameters.coefficients.of(rows),
    )


def _detached(found: Losses, rows: Sequence[int]) -> Losses:
    return Losses(
        **{f.name: getattr(found, f.name).detach()[list(rows)] for f in dataclasses.fields(found)}
    )


def _gathered(parts: Sequence[tuple[list[int], Losses]], count: int) -> Losses:
    gathered: dict[str, Tensor] = {}
    for field in dataclasses.fields(Losses):
        values = [getattr(found, field.name) for _, found in parts]
        whole = values[0].new_empty(count)
        for (places, _), value in zip(parts, values, strict=True):
            whole[places] = value
        gathered[field.name] = whole
    return Losses(**gathered)
