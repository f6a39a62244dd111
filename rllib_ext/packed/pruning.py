"""Pruning of stacked members: each has its own Pruner; what it says is enforced on all at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from rllib_ext.packed.adam import StackedAdam
from rllib_ext.packed.network import Rows, StackedNetwork
from rllib_ext.packed.statistics import Observer, StackedStatistics
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.schedule.distillation import teaching_weight
from rllib_ext.pruning.structure.graph import Graph, trace
from rllib_ext.pruning.training.pruner import Pruner
from rllib_ext.pruning.training.side import Coefficients
from rllib_ext.rl.module.critic import critic_names
from rllib_ext.rl.module.initial import constants_of
from rllib_ext.rl.module.probing import probe_of


class PackedPruning:
    """The Pruners of all members.

    Decisions, criteria, masks, roll-backs and what becomes of moments are the Pruner's: it works on a
    member's module and optimizer, which are views of the stack. Only what happens in every step is
    done for all at once.

    Args:
        network: The members.
        adam: Their moments.

    Attributes:
        pruners: The members' pruners; None before they are started.
    """

    def __init__(self, network: StackedNetwork, adam: StackedAdam) -> None:
        self.pruners: list[Pruner | None] = [None] * len(network)
        self._network = network
        self._adam = adam
        self._statistics = StackedStatistics(network)
        # 1 where a weight is kept, laid out like the weights.
        self._kept = torch.ones_like(network.weights)
        self._pruned = [False] * len(network)

    def start(
        self,
        member: int,
        config: PruningConfig,
        seed: int,
        coefficients: Coefficients | None = None,
    ) -> None:
        """Starts the pruning schedule of a member whose module is fresh.

        Args:
            member: Which.
            config: When, how far and what to prune.
            seed: For criteria that draw.
            coefficients: Other values that are rolled back with the member's weights.

        Raises:
            ConfigError: The network has nothing that could be removed.
        """
        module = self._network.modules[member]
        adam = self._adam
        self.pruners[member] = Pruner(
            module,
            lambda: [adam.members[member]],
            config,
            critic_prefixes=self._critic,
            seed=seed,
            graph=lambda: self._graph,
            probe=probe_of(module),
            room=functools.partial(self._statistics.room, member),
            coefficients=coefficients,
            constants=constants_of(module),
        )
        self._kept[member] = 1.0
        self._pruned[member] = False

    def begin(self, member: int) -> None:
        """Gives a started member, whose weights are fresh, what its schedule starts with."""
        if self.pruner(member).begin_():
            self.refresh(member)

    def pruner(self, member: int) -> Pruner:
        """A started member's."""
        pruner = self.pruners[member]
        assert pruner is not None, "the member is started first"
        return pruner

    def teaching(self, member: int) -> float:
        """The weight of a member's divergence from its teacher in the update that has started."""
        pruner = self.pruner(member)
        return teaching_weight(pruner.config, pruner.progress)

    def before_update(self, member: int, env_steps: int) -> bool:
        """Decides for the update that is about to start, and prunes for it.

        Args:
            member: Whose.
            env_steps: Training env steps of its lineage, those of this update's batch included.

        Returns:
            What `Pruner.before_update` returns.

        Raises:
            ScoreError: The weights cannot be ranked.
        """
        changed = self.pruner(member).before_update(env_steps)
        if changed:
            self.refresh(member)
        return changed

    def after_update(self, member: int) -> None:
        """Rolls back or rewinds where the schedule asks for it."""
        if self.pruner(member).after_update():
            self.refresh(member)

    def refresh(self, member: int) -> None:
        """Reads a member's masks anew."""
        self._adam.reconnect_(member)
        row = self._kept[member].fill_(1.0)
        for name, mask in self.pruner(member).enforced.items():
            self._network.part(row, name).copy_(mask)
        self._pruned[member] = not bool(row.all())

    def observer(self, members: Sequence[int]) -> Observer | None:
        """Returns the observer of minibatches for members that gather statistics; None if none does."""
        return self._statistics.observer({i: self.pruner(i).gatherer for i in members})

    def settle(self) -> None:
        """Ends an update: from now on the members' Gatherers say what was gathered in it."""
        self._statistics.settle()

    def mask_gradients_(self, gradients: Tensor, rows: Rows) -> None:
        """Zeroes gradients of pruned weights in place, so that they don't count in a norm."""
        if any(self._pruned):
            gradients *= self._kept[rows]

    def enforce_(self, rows: Rows) -> None:
        """Sets every masked weight of some members to zero again; called after every step."""
        if any(self._pruned):
            weights = self._network.weights[rows].mul_(self._kept[rows])
            if not isinstance(rows, slice):
                self._network.weights[rows] = weights

    @functools.cached_property
    def _critic(self) -> list[str]:
        return critic_names(self._network.modules[0])

    @functools.cached_property
    def _graph(self) -> Graph:
        # The same for all members: it speaks of layers, not of weights.
        module = self._network.modules[0]
        return trace(module, probe_of(module))
