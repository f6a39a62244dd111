"""Everything that is refused before a folder is written, a lock taken or Ray started."""

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

# In the manifest, the form that latencies are taken in.
TIMED_FORM = "timed_form"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What an experiment comes to, once nothing in it is refused.

    Attributes:
        ppo: What its members share.
        engine: Who trains them.
        config: The experiment, with the evaluation that it gets, and how its environments step.
        sized: What of its evaluation was made smaller, for a person; "" where nothing was.
        initial: What they start from; None: fresh weights, or what the results folder keeps.
        timed_form: The form that latency is taken in, where it is an objective; "" otherwise.
        network: What members prune.
    """

    ppo: PPOConfig
    engine: Engine
    config: ExperimentConfig
    network: Network
    sized: str = ""
    initial: Initial | None = None
    timed_form: str = ""

    def refuse_too_large(self) -> None:
        """Looks whether this machine holds one member, or pack, at least.

        Raises:
            ConfigError: The configuration doesn't fit the machine.
        """
        slots_on([this_machine()], self.engine.resources, self.engine.unit)


def prepare(config: ExperimentConfig, given: PPOConfig | None = None) -> Prepared:
    """Looks at all of a new experiment that can be looked at before there is a cluster.

    Builds an environment and the network; runs code from `init_checkpoint`, where it is given.

    Args:
        config: The experiment.
        given: What members share, as `given_ppo.made_ready` makes it; None: what the experiment says.

    Raises:
        ConfigError: Something in it is refused.
        CheckpointError: `init_checkpoint` can't be read.
    """
    prepared = _prepare(config, build_ppo(config) if given is None else given)
    costs, length = costs_of(prepared.ppo, prepared.engine), longest_episode(prepared.ppo)
    fitting, told = sized(prepared.config, batch_of(prepared.ppo), length, costs)
    initial = initial_of(config, prepared.ppo)
    return dataclasses.replace(prepared, config=fitting, sized=told, initial=initial)


def prepare_again(config: ExperimentConfig, folder: Path) -> Prepared:
    """What `prepare` returns, for an experiment that goes on with the engine it began with.

    An engine can't read another one's training states, and what "auto" packs grows from version to
    version. What members start from is the folder's.

    Args:
        config: The experiment.
        folder: The results folder.

    Raises:
        ConfigError: Something in it is refused.
        ResultsError: The folder's manifest, or what it keeps of the configuration, is damaged.
        CheckpointError: What the folder keeps is missing, or can't be read here.
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
