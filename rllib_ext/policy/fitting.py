"""Checks that a policy fits an environment before it plays there."""

from __future__ import annotations

from typing import Any

import gymnasium
from ray.rllib.connectors.env_to_module import EnvToModulePipeline

from rllib_ext.envs.env_maker import EnvMaker
from rllib_ext.pruning.errors import ConfigError


def refuse_other_spaces(pipeline: EnvToModulePipeline, make: EnvMaker, env: str) -> None:
    """Checks that a policy fits an environment; bounds and number formats may differ.

    Args:
        pipeline: The policy's connectors, which hold the spaces that it was trained in.
        make: Builds the environment.
        env: Name of the environment.

    Raises:
        ConfigError: Its observations or actions are of another shape.
    """
    built = make()
    own = pipeline.input_observation_space, pipeline.input_action_space
    found = built.observation_space, built.action_space
    built.close()
    for kind, ours, theirs in zip(("observations", "actions"), own, found, strict=True):
        if _shape(ours) != _shape(theirs):
            raise ConfigError(
                f"the policy's {kind} are {ours}, and those of {env} are {theirs}. Expected the "
                "environment that it was trained in; name another one with --env."
            )


def _shape(space: Any) -> Any:
    """Returns what must be equal in two spaces for one policy to fit both."""
    spaces = gymnasium.spaces
    if isinstance(space, spaces.Dict):
        return {key: _shape(part) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return [_shape(part) for part in space.spaces]
    if isinstance(space, spaces.Discrete):
        return "Discrete", int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return "MultiDiscrete", space.nvec.tolist()
    return type(space).__name__, space.shape
