"""Checks that RLlib's own network can act in an environment, before it is trained.

RLlib builds its network even for spaces on which it then fails: integer observations, or actions of
several dimensions.
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tree
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_ext.envs.shifted import leaf_spaces
from rllib_ext.pruning.errors import ConfigError


def refuse_unplayable(module: Any, pipeline: EnvToModulePipeline) -> None:
    """Draws one action from RLlib's own network for an observation drawn from its space.

    Args:
        module: An RLModule; a user's own class is not checked.
        pipeline: The connectors that feed it; left unchanged.

    Raises:
        ConfigError: RLlib's layers fail on the observation, or its distribution on the action.
    """
    if type(module) is not DefaultPPOTorchRLModule:
        return
    batch = None
    # Connectors may be a user's code, and need more of an episode than its start.
    with contextlib.suppress(Exception):
        batch = _first_batch(module, copy.deepcopy(pipeline))
    if batch is None:
        return
    # RLlib draws from torch's global generator.
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            outputs = module.forward_exploration(batch)
        except RuntimeError as error:
            given = f"the observation space {module.observation_space}"
            raise ConfigError(f"ppo.rl_module: {expects_floats(given)} ({error})") from error
        try:
            distribution: Any = module.get_exploration_action_dist_cls()
            distribution.from_logits(outputs[Columns.ACTION_DIST_INPUTS]).sample()
        except (RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"ppo.rl_module: the policy has the action space {module.action_space}, of which RLlib "
                f"can't draw ({type(error).__name__}: {error}); expected Discrete, MultiDiscrete of one "
                "dimension, Box, or Dict and Tuple of these. Flatten actions in the environment."
            ) from error


def refuse_other_starts(module: Any) -> None:
    """Checks that discrete actions start at 0, as all those do that RLlib's own network draws.

    Args:
        module: An RLModule whose actions no connector of the user's changes; a user's own class is not
            checked.

    Raises:
        ConfigError: The environment's actions start elsewhere, so that it would be given wrong ones.
    """
    if type(module) is not DefaultPPOTorchRLModule:
        return
    for space in leaf_spaces(module.action_space):
        if not isinstance(space, gym.spaces.Discrete | gym.spaces.MultiDiscrete):
            continue
        if np.any(space.start):
            raise ConfigError(
                f"ppo.rl_module: the action space {module.action_space} has actions that begin with "
                f"{space.start}, and RLlib gives environments those that begin with 0. Let the "
                "environment take those, or wrap it in gymnasium.wrappers.TransformAction."
            )


def expects_floats(given: str) -> str:
    """Returns the message that RLlib's own layers fail on the observations, and how to fix it.

    Args:
        given: Description of the observations or their space, which follows "the policy has".
    """
    return (
        f"the policy has {given}, on which RLlib's own layers fail; expected a Box of floats, one "
        "dimension or images. Wrap the environment in gymnasium.wrappers.DtypeObservation. Without code "
        "of your own: the connector ray.rllib.connectors.env_to_module:FlattenObservations, as "
        "env_runners.env_to_module_connector, for numbers; env: rllib_ext.envs.float_images:FloatImages "
        "for images of bytes."
    )


def _first_batch(module: Any, pipeline: EnvToModulePipeline) -> dict[str, Any]:
    """Returns the batch that the module is given at the start of an episode."""
    space: gym.Space[Any] = copy.deepcopy(pipeline.input_observation_space)
    space.seed(0)
    episode = SingleAgentEpisode(observation_space=space, action_space=pipeline.input_action_space)
    # Zeros for floats: bounds can be those of the number format, and the outputs would overflow.
    episode.add_env_reset(tree.map_structure(_small, space.sample()))
    batch: dict[str, Any] = pipeline(
        rl_module=module, episodes=[episode], batch={}, explore=True, shared_data={}, metrics=None
    )
    return batch


def _small(part: Any) -> Any:
    return np.zeros_like(part) if np.issubdtype(np.asarray(part).dtype, np.floating) else part
