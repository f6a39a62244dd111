"""The dense policy that a search starts from: weights and filters of an RLlib checkpoint."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.core import (
    COMPONENT_ENV_TO_MODULE_CONNECTOR,
    COMPONENT_LEARNER,
    COMPONENT_RL_MODULE,
    DEFAULT_MODULE_ID,
)
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_ext.base.aside import write_aside
from rllib_ext.checkpoint.reading import check_layout, readable
from rllib_ext.checkpoint.teaching import refuse_unteachable
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.callback import foreach_learner
from rllib_ext.rl.module.same_network import difference
from rllib_ext.rl.prunable import fresh_network

_MODULE = Path("learner_group") / "learner" / "rl_module" / DEFAULT_MODULE_ID
_PIPELINES = (Path("env_runner") / "env_to_module_connector", Path("env_to_module_connector"))


@dataclasses.dataclass(frozen=True)
class Initial:
    """The trained network that a fresh member starts from.

    Attributes:
        weights: Arrays by RLlib's parameter names, the critic's included.
        filters: States of the connectors from episodes to the module that have one, by their names.
    """

    weights: dict[str, np.ndarray[Any, Any]]
    filters: dict[str, Any]

    def put_into(self, module: torch.nn.Module) -> None:
        """Copies the weights into a module of the same network."""
        module.load_state_dict({name: torch.from_numpy(w) for name, w in self.weights.items()})

    def save(self, path: Path) -> None:
        """Writes it into a file, aside, then renamed."""
        content = pickle.dumps(dataclasses.asdict(self))
        write_aside(path, lambda aside: aside.write_bytes(content))

    @classmethod
    def load(cls, path: Path) -> Initial:
        """Reads what `save` wrote. A pickle: runs code from the results folder.

        Raises:
            CheckpointError: The checkpoint is missing or damaged.
        """
        with readable(path):
            return cls(**pickle.loads(path.read_bytes()))


def read_initial(folder: Path) -> Initial:
    """Reads a checkpoint of PPO; runs code from it.

    Args:
        folder: A checkpoint that `algo.save_to_path` or Ray Tune wrote.

    Raises:
        CheckpointError: It is no checkpoint of PPO with one policy on the new API stack, or damaged.
    """
    check_layout(folder)
    with readable(folder):
        weights = _module_of(folder).get_state()
        filters = filters_of(folder)
    return Initial(
        weights={name: np.array(value) for name, value in weights.items()}, filters=filters
    )


def filters_of(folder: Path) -> dict[str, Any]:
    """States of a checkpoint's connectors from episodes to the module, as of `Initial`; runs its code.

    Args:
        folder: A checkpoint in which `check_layout` finds nothing wrong.
    """
    place = next(folder / p for p in _PIPELINES if (folder / p).is_dir())
    states = EnvToModulePipeline.from_checkpoint(place.resolve()).get_state()
    return {name: state for name, state in states.items() if state}


def _module_of(folder: Path) -> Any:
    return RLModule.from_checkpoint(folder.resolve() / _MODULE)


def refuse_other_network(initial: Initial, ppo: PPOConfig, folder: Path) -> None:
    """Checks that members of a configuration can take over a checkpoint's weights; runs its code.

    Args:
        initial: Contents of the checkpoint.
        ppo: The members' PPO configuration.
        folder: The checkpoint, for the message.

    Raises:
        CheckpointError: The checkpoint can't be read.
        ConfigError: Networks – their parameters, or what they compute with them –, spaces or filters
            differ; the message says where.
    """
    module, pipeline = fresh_network(ppo)
    with readable(folder):
        trained = _module_of(folder)
    if found := difference(trained, module):
        raise ConfigError(
            f"init_checkpoint: {folder} holds another network: {found}. Expected the network that env "
            "and ppo.rl_module describe. Set ppo.rl_module.model_config, or its RLModule, and env to "
            "what the checkpoint was trained with."
        )
    known = {name for name, state in pipeline.get_state().items() if state}
    if known != set(initial.filters):
        raise ConfigError(
            f"init_checkpoint: {folder} was trained with the connectors "
            f"{sorted(initial.filters) or 'that keep no state'}, and this configuration has "
            f"{sorted(known) or 'none that keep state'}; its weights mean nothing without them. Set "
            "ppo.env_runners to what the checkpoint was trained with."
        )


def start_from(algorithm: Algorithm, initial: Initial) -> None:
    """Gives a fresh algorithm the weights and filters, on its Learners and its EnvRunners."""
    foreach_learner(algorithm, _take, initial=initial)
    show_weights(algorithm)
    show_filters(algorithm, initial.filters)


def teach_with(algorithm: Algorithm, initial: Initial) -> None:
    """Makes the policy the teacher of one that goes on from a later state; `start_from` does so too.

    Raises:
        ConfigError: It can't be, and the pruning configuration asks for a teacher.
    """
    foreach_learner(algorithm, _teach, initial=initial)


def show_weights(algorithm: Algorithm) -> None:
    """Gives every EnvRunner the Learner's weights as they are, whatever their version.

    `sync_weights` passes over weights whose version no update has raised.
    """
    state = algorithm.learner_group.get_state(
        components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True
    )
    weights = {COMPONENT_RL_MODULE: state[COMPONENT_LEARNER][COMPONENT_RL_MODULE]}
    algorithm.env_runner_group.foreach_env_runner(lambda runner: runner.set_state(weights))


def show_filters(algorithm: Algorithm, filters: Mapping[str, Any]) -> None:
    """Gives every EnvRunner the states of connectors, as of `Initial`."""
    if filters:
        state = {COMPONENT_ENV_TO_MODULE_CONNECTOR: filters}
        algorithm.env_runner_group.foreach_env_runner(lambda runner: runner.set_state(state))


def _take(learner: Any, initial: Initial) -> None:
    initial.put_into(learner.module[DEFAULT_MODULE_ID].unwrapped())
    learner.pruner.begin_trained_()
    learner.connectors = initial.filters or None
    _teach(learner, initial)


def _teach(learner: Any, initial: Initial) -> None:
    module = learner.module[DEFAULT_MODULE_ID].unwrapped()
    refuse_unteachable(learner.pruner.config, initial.filters, module)
    if learner.pruner.config.distil > 0.0:
        learner.learn_from(initial.weights)
