"""The settings shared by a pack's members, read from a PPO configuration that can be packed."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import EnvToModulePipeline, MeanStdFilter
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES

from rllib_ext.envs.env_maker import EnvMaker, env_maker
from rllib_ext.packed.carried import carried_by, flattening_among
from rllib_ext.packed.computation import Computation
from rllib_ext.packed.filters import filter_among
from rllib_ext.packed.hyperparameters import hyperparameters_of
from rllib_ext.packed.kinds import computation_of
from rllib_ext.packed.network import build_module
from rllib_ext.packed.settings import refuse_unpackable
from rllib_ext.packed.vectorize import Vectorize, asked_of, vectorize_of
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.preprocess.scale_rewards import ScaleRewards


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blueprint:
    """The settings shared by all members of a pack.

    Attributes:
        ppo: The configuration.
        make_env: Builds one environment, whose observations are arrays.
        vectorize: The way in which environments are stepped.
        action_space: One environment's action space.
        spec: Builds a member's module.
        env_to_module: RLlib's connectors from episodes to the module's batch.
        module_to_env: RLlib's connectors from the module's outputs to actions.
        filter: The observation filter among them, for its settings.
        frames: Number of observations stacked after it.
        rewards: RLlib's connector that scales rewards, for its settings; None: they aren't.
        observation_shape: Shape of one environment's observation, as the pack carries it.
        computation: Stacked computation of the members' networks, on the CPU.
        envs: Environments of each member.
        steps: Env steps of each environment per iteration.
        minibatch: Steps of a member in a minibatch.
        device: Device on which members learn and act: "cuda" with `num_gpus_per_learner`, else "cpu".
    """

    ppo: PPOConfig
    make_env: EnvMaker
    vectorize: Vectorize
    action_space: gym.Space[Any]
    spec: RLModuleSpec
    env_to_module: EnvToModulePipeline
    module_to_env: ModuleToEnvPipeline
    filter: MeanStdFilter | None
    frames: int
    rewards: ScaleRewards | None
    observation_shape: tuple[int, ...]
    computation: Computation
    envs: int
    steps: int
    minibatch: int
    device: str

    def module(self, seed: int, dtype: torch.dtype = torch.float32) -> Any:
        """A member's module with RLlib's own initialisation."""
        return build_module(self.spec, seed).to(dtype)

    def inference_module(self) -> Any:
        """A module without what only training needs, as RLlib's EnvRunners have it."""
        spec: Any = dataclasses.replace(self.spec, inference_only=True)
        return build_module(spec, seed=0)


def blueprint_of(ppo: PPOConfig) -> Blueprint:
    """Reads what members share.

    Args:
        ppo: Any PPO configuration of the new API stack.

    Raises:
        ConfigError: Members with it can't be packed; the message says why.
    """
    refuse_unpackable(ppo)
    hyperparameters_of(ppo, {})
    make = env_maker(ppo)
    env = make()
    spaces = (env.observation_space, env.action_space)
    env.close()
    given: dict[str, tuple[Any, Any]] = {INPUT_ENV_SPACES: spaces, INPUT_ENV_SINGLE_SPACES: spaces}
    flattening, added = flattening_among(_added_connectors(ppo, given))
    filtered, frames = filter_among(added)
    make = carried_by(make, spaces[0], flattening)
    shape = _shape_of(make)
    _refuse_nested(spaces[0], shape, filtered, frames, flattened=flattening is not None)
    env_to_module = ppo.build_env_to_module_connector(spaces=given)
    given[DEFAULT_MODULE_ID] = (env_to_module.observation_space, spaces[1])
    try:
        spec = ppo.get_rl_module_spec(spaces=given, inference_only=False)
        modules = [build_module(spec, seed) for seed in range(2)]
    except Exception as error:
        # A module is anybody's code.
        raise ConfigError(
            f"ppo.rl_module: RLlib cannot build the network: {type(error).__name__}: {error}"
        ) from error
    computation = computation_of(modules)
    envs = int(ppo.num_envs_per_env_runner)
    size = int(ppo.train_batch_size_per_learner)
    steps = -(-size // envs)
    minibatch = int(ppo.minibatch_size)
    if not 1 <= minibatch <= steps * envs:
        raise ConfigError(
            f"minibatch_size = {minibatch}; expected 1 to {steps * envs}, the steps of a batch."
        )
    return Blueprint(
        ppo=ppo,
        make_env=make,
        vectorize=vectorize_of(asked_of(ppo), make),
        action_space=spaces[1],
        spec=spec,
        env_to_module=env_to_module,
        module_to_env=ppo.build_module_to_env_connector(spaces=given),
        filter=filtered,
        frames=frames,
        rewards=None if ppo._learner_connector is None else ppo._learner_connector()[0],
        observation_shape=shape,
        computation=computation,
        envs=envs,
        steps=steps,
        minibatch=minibatch,
        device="cuda" if ppo.num_gpus_per_learner else "cpu",
    )


def _added_connectors(ppo: PPOConfig, spaces: Any) -> list[Any]:
    if ppo._env_to_module_connector is None:
        return []
    added = ppo._env_to_module_connector(None, spaces, None)
    return [added] if isinstance(added, ConnectorV2) else list(added)


def _shape_of(make: EnvMaker) -> tuple[int, ...]:
    env = make()
    try:
        return tuple(env.observation_space.shape or ())
    finally:
        env.close()


def _refuse_nested(
    space: gym.Space[Any],
    shape: tuple[int, ...],
    filtered: MeanStdFilter | None,
    frames: int,
    *,
    flattened: bool,
) -> None:
    """Refuses what a pack does to arrays of one dimension, or to arrays, only."""
    if frames > 1 and (len(shape) != 1 or not (flattened or isinstance(space, gym.spaces.Box))):
        raise ConfigError(
            f"frame_stack = {frames}: members of a pack stack observations of one dimension only, and "
            f"these are {space}. Use the rllib engine."
        )
    if filtered is not None and not (flattened or isinstance(space, gym.spaces.Box)):
        raise ConfigError(
            f"normalize: members of a pack normalise arrays, and observations are {space}. Flatten them "
            "first, as RLlib's filter needs it too, with env_to_module_connector: "
            "ray.rllib.connectors.env_to_module:FlattenObservations."
        )
