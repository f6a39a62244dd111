"""Starts members of a pack: fresh, from a trained network, or from another member's state."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rllib_ext.checkpoint.teaching import refuse_unteachable
from rllib_ext.checkpoint.warm_start import Initial
from rllib_ext.evaluation.reference import random_policy_episodes
from rllib_ext.packed.adam import StackedAdam
from rllib_ext.packed.blueprint import Blueprint
from rllib_ext.packed.draws import Draws
from rllib_ext.packed.filters import Filters
from rllib_ext.packed.hyperparameters import hyperparameters_of
from rllib_ext.packed.member import Member
from rllib_ext.packed.network import StackedNetwork
from rllib_ext.packed.pruning import PackedPruning
from rllib_ext.packed.rewards import Rewards
from rllib_ext.packed.rollout import Collector
from rllib_ext.packed.state import MemberState
from rllib_ext.packed.teachers import Teachers
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.training.side import Coefficients
from rllib_ext.rl.callback import RANDOM_EPISODES
from rllib_ext.rl.settings.contradictions import refuse_contradictions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Starter:
    """Puts members in their places of a pack.

    Attributes:
        blueprint: Settings shared by all members.
        module: Builds a fresh module from a seed, where the pack computes.
        members: The member in each place; None if it is empty.
        network: The members' weights, and what goes with each of them: moments, pruning, teachers,
            observation filters, reward scales, draws and environments.
    """

    blueprint: Blueprint
    module: Callable[[int], Any]
    members: list[Member | None]
    network: StackedNetwork
    adam: StackedAdam
    pruning: PackedPruning
    teachers: Teachers
    filters: Filters
    rewards: Rewards
    draws: Draws
    collector: Collector

    def start(
        self,
        place: int,
        *,
        training: Mapping[str, Any],
        pruning: PruningConfig,
        seed: int,
        state: MemberState | None,
        initial: Initial | None,
    ) -> None:
        """See `rllib_ext.packed.pack.Pack.start`."""
        ppo = self.blueprint.ppo
        own = hyperparameters_of(ppo, training)
        refuse_contradictions(ppo, pruning)
        module = self.module(seed)
        if initial is not None:
            initial.put_into(module)
        self.network.adopt(place, module)
        refuse_unteachable(pruning, None if initial is None else initial.filters, module)
        if pruning.distil > 0.0:
            self.teachers.take(place)
        self.adam.restart_(place, own.at(0).lr)
        self.pruning.start(place, pruning, seed, self._coefficients(place))
        pruner = self.pruning.pruner(place)
        pruner.begins_trained = initial is not None
        if initial is None and state is None:
            self.pruning.begin(place)
        if pruning.schedule == "plateau" and pruner.random_return is None:
            # Not in the configuration: each pack measures anew, and by its equality lineages go on.
            pruner.random_return = self._random_return
        self.filters.restart(place)
        self.rewards.restart(place)
        self.draws.restart(place, seed)
        member = Member(hyperparameters=own, kl_coeff=own.kl_coeff)
        self.members[place] = member
        for found in initial.filters.values() if initial is not None else ():
            self.filters.load(place, found)
            member.filter = found
        if state is not None:
            self._go_on(place, member, state)
        self.rewards.begin(place)
        (of_environments,) = np.random.SeedSequence(seed).generate_state(1)
        self.collector.start(place, int(of_environments))

    def _go_on(self, place: int, member: Member, state: MemberState) -> None:
        state.put_into(self.network, self.adam, place)
        self.filters.load(place, state.filter)
        self.rewards.load(place, state.rewards)
        member.filter = state.filter
        member.kl_coeff, member.iteration = state.kl_coeff, state.iteration
        member.env_steps = int(state.pruning["env_steps"])
        self.pruning.pruner(place).load_state_dict(state.pruning)
        self.pruning.refresh(place)

    def _coefficients(self, place: int) -> Coefficients:
        def member() -> Member:
            found = self.members[place]
            assert found is not None, "the member is started first"
            return found

        def read() -> dict[str, Any]:
            rewards = self.rewards.state(place)
            return {"kl_coeff": member().kl_coeff, "filter": member().filter, "rewards": rewards}

        def write(values: Mapping[str, Any]) -> None:
            member().kl_coeff = values["kl_coeff"]
            self.rewards.load(place, values["rewards"])
            if values["filter"] is not None:
                self.filters.load(place, values["filter"])

        return Coefficients(read, write)

    @functools.cached_property
    def _random_return(self) -> float:
        return random_policy_episodes(self.blueprint.ppo, seeds=range(RANDOM_EPISODES)).mean
