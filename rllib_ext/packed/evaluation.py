"""Evaluation of members: episodes as `rllib_ext.evaluation` plays them, of several policies at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from typing_extensions import override

from rllib_ext.evaluation.evaluator import Actions, Episodes, Evaluator, Observations, Policy
from rllib_ext.packed.blueprint import Blueprint
from rllib_ext.packed.environments import for_environment
from rllib_ext.packed.filters import Filters
from rllib_ext.packed.frames import Array, Frames
from rllib_ext.packed.network import StackedNetwork


class StackedPolicy(Policy):
    """The deterministic policies of all members; each episode is played by one of them.

    Gives the actions that each member's own policy would give, as a
    `rllib_ext.evaluation.evaluator.Policy`.

    Args:
        blueprint: Says what becomes of an action on its way to the environment.
        network: The members.
        filters: Theirs; they learn nothing here.
        members: Who plays which episode, ascending.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        network: StackedNetwork,
        filters: Filters,
        members: Sequence[int],
    ) -> None:
        self._blueprint = blueprint
        self._network = network
        self._filters = filters
        self._members = np.asarray(members)
        self._rows = np.unique(self._members)
        self._frames = Frames(blueprint.frames)
        # By episode, what its player saw last.
        self._stacked: Array = np.zeros((0, 0))
        with torch.no_grad():
            rows = torch.from_numpy(self._rows).to(network.weights.device)
            self._parameters = network.parts(network.weights[rows])

    @override
    def begin(self, seeds: Sequence[int]) -> None:
        self._stacked = np.zeros((0, 0))
        self._lay_out(range(len(seeds)))

    @override
    def act(
        self, episodes: Sequence[int], observations: Observations, rewards: Sequence[float]
    ) -> Actions:
        if len(episodes) != len(self._places[0]):
            self._lay_out(episodes)
        frames = self._filters.normalised(self._players, np.asarray(observations))
        seen = self._stack(episodes, frames)
        if self._gaps:
            block = np.zeros((*self._size, seen.shape[1]), dtype=np.float32)
            block[self._places] = seen
        else:
            block = np.ascontiguousarray(seen).reshape(*self._size, -1)
        with torch.no_grad():
            stacked = torch.from_numpy(block).to(self._network.weights)
            inputs = self._network.act(self._parameters, stacked)
            if self._network.architecture.discrete:
                actions = inputs.argmax(dim=-1)
            else:
                actions = inputs.chunk(2, dim=-1)[0]
        ppo = self._blueprint.ppo
        listed = actions.cpu().numpy()
        return for_environment(
            self._blueprint.action_space,
            listed[self._places] if self._gaps else listed.reshape(len(seen), *listed.shape[2:]),
            unsquash=bool(ppo.normalize_actions),
            clip=bool(ppo.clip_actions),
        )

    def _stack(self, episodes: Sequence[int], frames: Array) -> Array:
        """Observations of unfinished episodes, each behind those before it."""
        if self._frames.count == 1:
            return frames
        if not len(self._stacked):
            self._stacked = seen = self._frames.first(frames)
        else:
            seen = self._frames.following(self._stacked[list(episodes)], frames)
            self._stacked[list(episodes)] = seen
        return seen

    def _lay_out(self, episodes: Sequence[int]) -> None:
        """Says where in the stack unfinished episodes are; they only become fewer."""
        self._players = self._members[np.asarray(episodes)]
        starts = np.searchsorted(self._players, self._rows)
        rows = np.searchsorted(self._rows, self._players)
        columns = np.arange(len(rows)) - starts[rows]
        self._places = rows, columns
        # Members with fewer episodes left are filled up: the stack is computed as one block.
        self._size = len(self._rows), int(columns.max()) + 1
        self._gaps = len(rows) < math.prod(self._size)


class PackedEvaluator:
    """Evaluates members in environments that are built once.

    Args:
        blueprint: What the members share.
        network: The stacked networks of all members.
        filters: The members' observation filters.
    """

    def __init__(self, blueprint: Blueprint, network: StackedNetwork, filters: Filters) -> None:
        self._blueprint = blueprint
        self._network = network
        self._filters = filters
        self._evaluator = Evaluator(blueprint.make_env)

    def run(self, seeds: Mapping[int, Sequence[int]]) -> dict[int, Episodes]:
        """One episode a seed, all finished, of each of some members.

        Args:
            seeds: By member.

        Returns:
            By member, returns and lengths in the order of its seeds.
        """
        order = sorted(seeds)
        players = [member for member in order for _ in seeds[member]]
        flat = [int(seed) for member in order for seed in seeds[member]]
        if not flat:
            return {}
        policy = StackedPolicy(self._blueprint, self._network, self._filters, players)
        episodes = self._evaluator.run(policy, flat)
        counts = [len(seeds[member]) for member in order]
        return dict(zip(order, episodes.split(counts), strict=True))

    def close(self) -> None:
        """Closes the environments."""
        self._evaluator.close()
