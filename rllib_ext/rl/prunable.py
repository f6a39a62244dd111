"""Checks that a network can be pruned as configured, before it is trained."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import gymnasium
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.structure.graph import trace
from rllib_ext.pruning.training.pruner import Pruner
from rllib_ext.rl.module.critic import critic_names
from rllib_ext.rl.module.probing import probe_of
from rllib_ext.rl.playable import refuse_other_starts, refuse_unplayable
from rllib_ext.rl.settings.contradictions import refuse_contradictions


def refuse_unprunable(ppo: PPOConfig, ways: Iterable[PruningConfig]) -> None:
    """Builds the network of a configuration once, and begins to prune it by each pruning configuration.

    Args:
        ppo: Any PPO configuration of the new API stack with one policy.
        ways: Pruning configurations, with `horizon` set.

    Raises:
        ConfigError: RLlib can't build the network, RLlib's own network can't act in the environment, or
            the network can't be pruned as configured; the message says why.
    """
    module, pipeline = fresh_network(ppo)
    refuse_unplayable(module, pipeline)
    if ppo._module_to_env_connector is None:
        refuse_other_starts(module)
    graph = functools.cache(lambda: trace(module, probe_of(module)))
    # These settings alone decide what can be removed; of equal ones the largest critic target is kept.
    by_demand = sorted(ways, key=lambda way: way.critic_final_sparsity)
    asked = {
        (way.exclude, way.granularity, way.start, way.criterion == "synflow"): way
        for way in by_demand
    }
    for way in asked.values():
        refuse_contradictions(ppo, way)
        Pruner(
            module,
            list,
            way,
            critic_prefixes=critic_names(module),
            graph=graph,
            probe=probe_of(module),
        )


def fresh_network(ppo: PPOConfig) -> tuple[Any, EnvToModulePipeline]:
    """Builds the module that a Learner of a configuration starts with, and the connectors that feed it.

    Args:
        ppo: Any PPO configuration of the new API stack with one policy.

    Raises:
        ConfigError: RLlib can't build the network.
    """
    env = env_maker(ppo)()
    spaces: dict[str, Any] = dict.fromkeys(
        (INPUT_ENV_SPACES, INPUT_ENV_SINGLE_SPACES), (env.observation_space, env.action_space)
    )
    env.close()
    seen = env.observation_space
    try:
        pipeline = ppo.build_env_to_module_connector(spaces=spaces)
        seen = pipeline.observation_space
        spaces[DEFAULT_MODULE_ID] = (pipeline.observation_space, spaces[INPUT_ENV_SPACES][1])
        # RLlib draws initial weights from torch's global generator.
        with torch.random.fork_rng(devices=[]):
            module = ppo.get_rl_module_spec(spaces=spaces, inference_only=False).build()
        # PPO's loss needs these distributions, and RLlib has them for some action spaces only.
        module.get_train_action_dist_cls()
        module.get_exploration_action_dist_cls()
    except Exception as error:
        # A module may be a user's code, which can raise anything.
        raise ConfigError(
            f"ppo.rl_module: RLlib cannot build the network: {type(error).__name__}: {error}"
            f"{_mend(seen)}"
        ) from error
    return module, pipeline


def _mend(space: gymnasium.Space[Any]) -> str:
    """Returns a hint for observations that RLlib's own networks don't accept; empty for a Box."""
    if isinstance(space, gymnasium.spaces.Box):
        return ""
    return (
        f" RLlib's own networks take a Box, and the observation is {space}. The connector "
        "ray.rllib.connectors.env_to_module:FlattenObservations makes it flat, and what is discrete "
        "one-hot: give it as env_runners.env_to_module_connector."
    )
