"""Updates of all members at once: epochs, minibatches, gradients, steps."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from rllib_ext.packed.adam import StackedAdam
from rllib_ext.packed.devices import can_be_asked
from rllib_ext.packed.distributions import DistributionKind
from rllib_ext.packed.hyperparameters import Stacked
from rllib_ext.packed.loss import Losses, Minibatch, losses
from rllib_ext.packed.loss_gradient import LossGradient
from rllib_ext.packed.minibatch_order import MinibatchOrder
from rllib_ext.packed.network import Rows, StackedNetwork, rows_of
from rllib_ext.packed.statistics import Observer

# What RLlib takes for a norm that has overflown.
LARGEST_NORM = 10e8


class Guard(Protocol):
    """Whoever prunes: sees gradients, masks them, and keeps weights at zero."""

    def observer(self, members: Sequence[int]) -> Observer | None:
        """Returns the observer of these members' gradients and forward passes; None if there is none."""
        ...

    def settle(self) -> None:
        """Called when an update is over."""
        ...

    def mask_gradients_(self, gradients: Tensor, rows: Rows) -> None:
        """Zeroes gradients of pruned weights in place."""
        ...

    def enforce_(self, rows: Rows) -> None:
        """Sets pruned weights of some members to zero again."""
        ...


class _Wide:
    """A batch as matrices, so that a minibatch is gathered at once."""

    # Of these, a step has a number each.
    _NUMBERS = ("log_probabilities", "advantages", "targets", "counted")

    def __init__(self, batch: Minibatch) -> None:
        self._size = batch.counted.shape[1]
        self._discrete = not batch.actions.is_floating_point()
        vectors = [batch.observations, batch.inputs]
        self._taught = batch.taught is not None
        if batch.taught is not None:
            vectors.append(batch.taught)
        if not self._discrete:
            vectors.append(batch.actions)
        self._widths = [each.shape[-1] for each in vectors]
        self._vectors = torch.cat(vectors, dim=-1).flatten(0, 1)
        self._numbers = torch.stack([getattr(batch, name).flatten() for name in self._NUMBERS])
        self._actions = batch.actions.flatten()

    def taker(self, rows: Tensor, positions: Tensor, size: int) -> Callable[[int], Minibatch]:
        """Gives minibatches by their index.

        Args:
            rows: Members.
            positions: Positions of their rows as in `in_time`, one minibatch after the other.
            size: Steps of a minibatch.
        """
        # Where a bootstrap row stands, the step before it is taken and not counted.
        index = positions % self._size + rows.unsqueeze(1) * self._size
        counts = (positions < self._size).to(self._numbers)

        def take(number: int) -> Minibatch:
            part = slice(number * size, (number + 1) * size)
            which = index[:, part].flatten()
            vectors = self._vectors.index_select(0, which).view(len(rows), size, -1)
            observations, inputs, *rest = torch.split(vectors, self._widths, dim=-1)
            taught = rest.pop(0) if self._taught else None
            numbers = self._numbers.index_select(1, which).view(-1, len(rows), size)
            logs, advantages, targets, counted = numbers.unbind()
            return Minibatch(
                observations=observations,
                actions=rest[0]
                if rest
                else self._actions.index_select(0, which).view(len(rows), size),
                inputs=inputs,
                log_probabilities=logs,
                advantages=advantages,
                targets=targets,
                counted=counted.mul_(counts[:, part]),
                taught=taught,
            )

        return take


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
        distribution: Distribution that actions were drawn from.
        batch: All members' rollouts.
        hyperparameters: All members'.
        order: Order of rows in the minibatches of the members that train.
        members: Those that train, ascending.
        guard: Prunes.

    Returns:
        The losses of each trained member's last minibatch, of shape (len(members),).
    """
    wide = _Wide(batch)
    of_everyone = LossGradient.of(distribution, hyperparameters.coefficients)
    last: list[tuple[list[int], Losses]] = []
    # Members with fewer epochs rest at the end; between two such ends the same ones train.
    for start, stop in itertools.pairwise(sorted({0, *order.counts})):
        training = [i for i, count in enumerate(order.counts) if count >= stop]
        numbers = [members[i] for i in training]
        rows = rows_of(numbers, network)
        own = _of(hyperparameters, rows)
        taken = torch.tensor(numbers, device=network.weights.device)
        positions = order.minibatch(start, stop - start)[training].to(taken.device)
        take = wide.taker(taken, positions, order.size)
        gradient_of = dataclasses.replace(of_everyone, coefficients=own.coefficients)
        observe = guard.observer(numbers)
        gradients = network.weights.new_empty(len(numbers), network.weights.shape[1])
        into, parameters = network.parts(gradients), network.parts(network.weights[rows])
        for index in range(stop - start):
            if not isinstance(rows, slice) and index:
                # Copies of the weights as they were.
                parameters = network.parts(network.weights[rows])
            minibatch = take(index)
            passed = network.forward_pass(parameters, minibatch.observations)
            if index == stop - start - 1:
                found = losses(
                    distribution, passed.inputs, passed.values, minibatch, own.coefficients
                )
            # No member's gradient contains anything of another's.
            passed.backward(*gradient_of(passed.inputs, passed.values, minibatch), into)
            if observe is not None:
                observe(gradients, passed)
            guard.mask_gradients_(gradients, rows)
            clip_(gradients, own.largest_norm, network)
            adam.step_(gradients, own.rate, rows)
            guard.enforce_(rows)
        ended = [k for k, i in enumerate(training) if order.counts[i] == stop]
        last.append(([training[k] for k in ended], _some(found, ended)))
    guard.settle()
    return _gathered(last, len(members))


def clip_(gradients: Tensor, largest: Tensor, network: StackedNetwork) -> None:
    """Scales each member's gradient to its largest norm and zeroes what isn't finite, in place.

    As RLlib does, parameters without a finite norm don't count in a member's norm.

    Args:
        gradients: A tensor of shape (rows, parameters of one).
        largest: Norms, of shape (rows,); infinite where nothing is clipped.
        network: Stacked networks, for the position of each parameter.
    """
    norms = torch.linalg.vector_norm(gradients, dim=1)
    broken = ~torch.isfinite(norms)
    if not can_be_asked(gradients):
        norms = torch.where(broken, _norms_of_broken(gradients, network), norms)
        gradients *= _factors(largest, norms)
        gradients.nan_to_num_()
        return
    any_broken = bool(broken.any())
    if any_broken:
        norms[broken] = _norms_of_broken(gradients[broken], network)
    gradients *= _factors(largest, norms)
    if any_broken:
        gradients[broken] = gradients[broken].nan_to_num()


def _factors(largest: Tensor, norms: Tensor) -> Tensor:
    """By what gradients are multiplied, of shape (rows, 1); 1 where nothing is clipped."""
    return (largest / (norms + 1e-6)).clamp_(max=1.0).unsqueeze(1)


def _norms_of_broken(gradients: Tensor, network: StackedNetwork) -> Tensor:
    """Norms of gradients in which some parameter's norm may not be finite, of shape (rows,)."""
    parts = [part.flatten(1) for part in network.parts(gradients).values()]
    norms = torch.stack([torch.linalg.vector_norm(part, dim=1) for part in parts])
    finite = norms.nan_to_num(posinf=LARGEST_NORM)
    whole: Tensor = torch.linalg.vector_norm(finite, dim=0)
    return whole.nan_to_num(posinf=LARGEST_NORM)


def _of(hyperparameters: Stacked, rows: Rows) -> Stacked:
    return Stacked(
        rate=hyperparameters.rate[rows],
        discount=hyperparameters.discount[rows],
        decay=hyperparameters.decay[rows],
        largest_norm=hyperparameters.largest_norm[rows],
        coefficients=hyperparameters.coefficients.of(rows),
    )


def _some(found: Losses, rows: Sequence[int]) -> Losses:
    return Losses(**{f.name: getattr(found, f.name)[list(rows)] for f in dataclasses.fields(found)})


def _gathered(parts: Sequence[tuple[list[int], Losses]], count: int) -> Losses:
    gathered: dict[str, Tensor] = {}
    for field in dataclasses.fields(Losses):
        values = [getattr(found, field.name) for _, found in parts]
        whole = values[0].new_empty(count)
        for (places, _), value in zip(parts, values, strict=True):
            whole[places] = value
        gathered[field.name] = whole
    return Losses(**gathered)
