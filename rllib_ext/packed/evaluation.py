"""Evaluation of members: episodes as `rllib_ext.evaluation` plays them, of several policies at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rllib_ext.envs.pool import pool_of
from rllib_ext.evaluation.evaluator import Actions, Episodes, Evaluator
from rllib_ext.packed.blueprint import Blueprint
from rllib_ext.packed.environments import for_environment
from rllib_ext.packed.filters import Array, Filters
from rllib_ext.packed.network import StackedNetwork
from rllib_ext.packed.stacked_policy import Actors, StackedPolicy


class PackedEvaluator:
    """Evaluates members in environments that are built once.

    Args:
        blueprint: Settings shared by all members.
        network: The stacked networks of all members.
        filters: The members' observation filters.
    """

    def __init__(self, blueprint: Blueprint, network: StackedNetwork, filters: Filters) -> None:
        self._blueprint = blueprint
        self._network = network
        self._filters = filters
        # What training sees it is evaluated in; figures that are published come from elsewhere.
        pool = pool_of(blueprint.make_env) if blueprint.vectorize == "envpool" else None
        self._evaluator = Evaluator(
            blueprint.make_env, pool=None if isinstance(pool, str) else pool
        )

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
        episodes = self._evaluator.run(StackedPolicy(self._actors(), players), flat)
        counts = [len(seeds[member]) for member in order]
        return dict(zip(order, episodes.split(counts), strict=True))

    def _actors(self) -> Actors:
        """All members as they are now."""
        ppo, space = self._blueprint.ppo, self._blueprint.action_space

        def taken(actions: Array) -> Actions:
            unsquash, clip = bool(ppo.normalize_actions), bool(ppo.clip_actions)
            return for_environment(space, actions, unsquash=unsquash, clip=clip)

        return Actors(
            computation=self._network.computation,
            parameters=self._network.parts(self._network.weights),
            observed=self._filters.normalised,
            taken=taken,
            frames=self._blueprint.frames,
        )

    def close(self) -> None:
        """Closes the environments."""
        self._evaluator.close()
