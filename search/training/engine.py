"""Provides the engines that train members: RLlib with a process per member, or packs in one process."""

from __future__ import annotations

import abc
import math
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune import PlacementGroupFactory
from typing_extensions import override

from rllib_ext.member.trainable import MemberTrainable
from rllib_ext.packed.blueprint import Blueprint, blueprint_of
from rllib_ext.packed.hyperparameters import OWN, hyperparameters_of
from rllib_ext.packed.trainable import PackTrainable
from rllib_ext.packed.vmapped import Vmapped
from rllib_ext.pruning.errors import ConfigError
from search.config.experiment import ExperimentConfig
from search.training.ppo_config import member_resources


class Engine(abc.ABC):
    """An engine that trains members: the trainable that Tune runs, and how many of them run at once.

    Attributes:
        name: Name of the engine in a configuration.
        unit: What one trial trains, for messages: "member" or "pack".
        trainable: Trainable class that Tune runs.
        resources: Cluster resources of one trial.
        unpackable: Why members can't be packed although `engine` is "auto"; empty otherwise.
        vmapped: Whether members' networks are a user's own, stacked by torch.func.vmap.
    """

    name: str
    unit: str
    trainable: type[Any]
    resources: PlacementGroupFactory
    unpackable: str = ""
    vmapped: bool = False

    @abc.abstractmethod
    def slots(self, config: ExperimentConfig, fit: int) -> int:
        """Returns the number of trials that run at once.

        Args:
            config: The experiment.
            fit: Number of trials that fit on the cluster.
        """

    @abc.abstractmethod
    def pack_size(self, config: ExperimentConfig, slots: int) -> int | None:
        """Returns the maximum number of members per pack; None if members aren't packed."""

    @abc.abstractmethod
    def describe(self, config: ExperimentConfig, slots: int) -> str:
        """Returns a readable phrase for how many members train at once."""


class RLlibEngine(Engine):
    """An engine that trains each member with RLlib, in a process of its own.

    Args:
        ppo: PPO configuration shared by all members.
        unpackable: Why members can't be packed (see `Engine.unpackable`).
    """

    name = "rllib"
    unit = "member"
    trainable = MemberTrainable

    def __init__(self, ppo: PPOConfig, unpackable: str = "") -> None:
        self.resources = member_resources(ppo)
        self.unpackable = unpackable

    @override
    def slots(self, config: ExperimentConfig, fit: int) -> int:
        """Returns at most one more than there are members, as the dense baseline trains beside them."""
        return min(config.resources.slots or fit, fit, config.population.members + 1)

    @override
    def pack_size(self, config: ExperimentConfig, slots: int) -> None:
        return

    @override
    def describe(self, config: ExperimentConfig, slots: int) -> str:
        return f"{slots} at a time"


class PackedEngine(Engine):
    """An engine that trains many members in one process.

    Args:
        cpus: CPUs per pack.
        gpus: GPUs per pack.
        vmapped: See `Engine.vmapped`.
    """

    name = "packed"
    unit = "pack"
    trainable = PackTrainable

    def __init__(self, cpus: float, gpus: float, *, vmapped: bool = False) -> None:
        self.vmapped = vmapped
        self.resources = PlacementGroupFactory([{"CPU": cpus} | ({"GPU": gpus} if gpus else {})])

    @override
    def slots(self, config: ExperimentConfig, fit: int) -> int:
        """Returns at most one more than there are packs, as the dense baseline trains beside them."""
        members = config.population.members
        packs = math.ceil(members / (config.resources.members_per_pack or 1))
        return min(config.resources.slots or fit, fit, packs + 1)

    @override
    def pack_size(self, config: ExperimentConfig, slots: int) -> int:
        shared_out = math.ceil(config.population.members / slots)
        return config.resources.members_per_pack or shared_out

    @override
    def describe(self, config: ExperimentConfig, slots: int) -> str:
        return f"{self.pack_size(config, slots)} in a pack, {slots} packs at a time"


def engine_of(config: ExperimentConfig, ppo: PPOConfig) -> Engine:
    """Returns the engine that a configuration asks for.

    Args:
        config: The experiment.
        ppo: PPO configuration shared by all members.

    Raises:
        ConfigError: "packed" is requested, but members can't be packed; the message says why.
    """
    if config.engine == "rllib":
        return RLlibEngine(ppo)
    try:
        blueprint = _packable(config, ppo)
    except ConfigError as error:
        if config.engine == "packed":
            raise
        return RLlibEngine(ppo, unpackable=str(error))
    return PackedEngine(
        config.resources.cpus_per_member,
        float(ppo.num_gpus_per_learner),
        vmapped=isinstance(blueprint.computation, Vmapped),
    )


def _packable(config: ExperimentConfig, ppo: PPOConfig) -> Blueprint:
    """Returns the blueprint that members of a pack share; raises ConfigError if they can't be packed."""
    blueprint = blueprint_of(ppo)
    for path, parameter in config.search.space.items():
        group, _, name = path.partition(".")
        if group != "training":
            continue
        if name not in OWN:
            raise ConfigError(
                f"search.space: {path} differs from member to member, but members of a pack share it. "
                f"Leave it out, or set engine: rllib. Each member's own are {', '.join(OWN)}."
            )
        for value in parameter.extremes:
            hyperparameters_of(ppo, {name: value})
    return blueprint


def told_cap(config: ExperimentConfig, engine: Engine, slots: int) -> str:
    """Returns a message if fewer trials run at once than `resources.slots` asks for; empty otherwise.

    Args:
        config: The experiment.
        engine: Engine that trains the members.
        slots: Number of trials that run at once.
    """
    asked = config.resources.slots
    if asked is None or asked <= slots:
        return ""
    return (
        f"resources.slots asks for {asked}, but no more than {slots} {engine.unit}s can train at once: "
        "either no more fit, or there are no more"
    )
