"""Who trains members: RLlib, a process each, or packs of many in one process."""

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
    """What Tune runs, and how much of it at once.

    Attributes:
        name: The engine's name in a configuration.
        unit: What one of what Tune runs is called.
        trainable: What Tune runs.
        resources: What one of it takes from the cluster.
        unpackable: Why members are not packed though they might have been; "" otherwise.
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
        """How many run at once.

        Args:
            config: The experiment.
            fit: How many the cluster holds.
        """

    @abc.abstractmethod
    def pack_size(self, config: ExperimentConfig, slots: int) -> int | None:
        """Members of each, at most; None: one, by itself."""

    @abc.abstractmethod
    def describe(self, config: ExperimentConfig, slots: int) -> str:
        """How many members train at once, for a person."""


class RLlibEngine(Engine):
    """A process a member.

    Args:
        ppo: What members share.
        unpackable: Why the engine can't pack (see `Engine.unpackable`).
    """

    name = "rllib"
    unit = "member"
    trainable = MemberTrainable

    def __init__(self, ppo: PPOConfig, unpackable: str = "") -> None:
        self.resources = member_resources(ppo)
        self.unpackable = unpackable

    @override
    def slots(self, config: ExperimentConfig, fit: int) -> int:
        """One more than members: the dense baseline trains beside them."""
        return min(config.resources.slots or fit, fit, config.population.members + 1)

    @override
    def pack_size(self, config: ExperimentConfig, slots: int) -> None:
        return

    @override
    def describe(self, config: ExperimentConfig, slots: int) -> str:
        return f"{slots} at a time"


class PackedEngine(Engine):
    """Many members in one process.

    Args:
        cpus: That a pack takes.
        gpus: That a pack takes.
        vmapped: As of `Engine.vmapped`.
    """

    name = "packed"
    unit = "pack"
    trainable = PackTrainable

    def __init__(self, cpus: float, gpus: float, *, vmapped: bool = False) -> None:
        self.vmapped = vmapped
        self.resources = PlacementGroupFactory([{"CPU": cpus} | ({"GPU": gpus} if gpus else {})])

    @override
    def slots(self, config: ExperimentConfig, fit: int) -> int:
        """One more than packs: the dense baseline trains beside them."""
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
    """The engine that a configuration asks for.

    Args:
        config: The experiment.
        ppo: What its members share.

    Raises:
        ConfigError: "packed" is asked for, but its members can't be packed; the message says why.
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
    """What members of a pack share; refuses what they can't."""
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
    """That fewer train at once than `resources.slots` asks for, for a person; "" where it isn't so.

    Args:
        config: The experiment.
        engine: Trains.
        slots: How many train at once.
    """
    asked = config.resources.slots
    if asked is None or asked <= slots:
        return ""
    return (
        f"resources.slots asks for {asked}, but no more than {slots} {engine.unit}s can train at once: "
        "either no more fit, or there are no more"
    )
