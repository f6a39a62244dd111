"""Prepares and checks an experiment before a folder is written, a lock taken or Ray started."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.checkpoint.warm_start import Initial
from rllib_ext.rl.network import Network, network_of
from search.cluster.machines import slots_on, this_machine
from search.config.experiment import ExperimentConfig
from search.config.sizing import sized
from search.runs.costs import batch_of, costs_of, longest_episode
from search.runs.network import refuse_unreachable_goal
from search.store.folder import read_manifest
from search.training.engine import Engine, engine_of
from search.training.exported_objectives import refuse_unexportable, timed_form_of
from search.training.given_ppo import ppo_of
from search.training.initial import initial_of, kept_initial
from search.training.ppo_config import build_ppo, refuse_unprunable_members
from search.training.trackers import refuse_missing
from search.training.vectorize import stepped_by, vectorized

# The manifest's key for the form in which latencies are measured.
TIMED_FORM = "timed_form"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """An experiment that has passed all checks, with everything derived from its configuration.

    Attributes:
        ppo: PPO configuration shared by all members.
        engine: Engine that trains the members.
        config: The experiment, with its evaluation settings and stepping of environments filled in.
        network: The policy network that members prune.
        sized: Readable message about which evaluation settings were reduced; empty if none were.
        initial: State that members start from; None for fresh weights, or for what the folder keeps.
        timed_form: Form in which latency is measured; empty if latency isn't an objective.
    """

    ppo: PPOConfig
    engine: Engine
    config: ExperimentConfig
    network: Network
    sized: str = ""
    initial: Initial | None = None
    timed_form: str = ""

    def refuse_too_large(self) -> None:
        """Checks that this machine has room for at least one member or pack.

        Raises:
            ConfigError: The configuration doesn't fit on the machine.
        """
        slots_on([this_machine()], self.engine.resources, self.engine.unit)


def prepare(config: ExperimentConfig, given: PPOConfig | None = None) -> Prepared:
    """Prepares a new experiment and makes all checks that are possible without a cluster.

    Builds an environment and the network; runs code from `init_checkpoint` if one is given.

    Args:
        config: The experiment.
        given: PPO configuration from `given_ppo.made_ready`; None to build it from the experiment.

    Raises:
        ConfigError: A setting is refused.
        CheckpointError: `init_checkpoint` can't be read.
    """
    prepared = _prepare(config, build_ppo(config) if given is None else given)
    costs, length = costs_of(prepared.ppo, prepared.engine), longest_episode(prepared.ppo)
    fitting, told = sized(prepared.config, batch_of(prepared.ppo), length, costs)
    initial = initial_of(config, prepared.ppo)
    return dataclasses.replace(prepared, config=fitting, sized=told, initial=initial)


def prepare_again(config: ExperimentConfig, folder: Path) -> Prepared:
    """Prepares an experiment that continues, with the engine it began with.

    An engine can't read another engine's training states, and newer versions may pack more with "auto".
    The state that members start from is read from the folder.

    Args:
        config: The experiment.
        folder: The results folder.

    Raises:
        ConfigError: A setting is refused.
        ResultsError: The folder's manifest or stored configuration is damaged.
        CheckpointError: A file in the folder is missing, or can't be read here.
    """
    kept_initial(config, folder)
    ppo = ppo_of(config, folder)
    manifest = read_manifest(folder)
    known = manifest.get("engine", config.engine)
    timed_form = str(manifest.get(TIMED_FORM, ""))
    return _prepare(config.model_copy(update={"engine": known}), ppo, timed_form)


def _prepare(config: ExperimentConfig, ppo: PPOConfig, timed_form: str = "") -> Prepared:
    ppo = vectorized(config, ppo)
    engine = engine_of(config, ppo)
    config = config.model_copy(update={"vectorize": stepped_by(config, ppo, engine)})
    refuse_unprunable_members(config, ppo)
    refuse_missing(config)
    refuse_unexportable(config, ppo)
    network = network_of(ppo, config.pruning.exclude)
    refuse_unreachable_goal(config, network)
    return Prepared(ppo, engine, config, network, timed_form=timed_form_of(config, timed_form))
