"""Determines how large plain policies can be in the environment of a configuration."""

from __future__ import annotations

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.pruning.errors import ConfigError
from search.population.plain_sizes import PlainSizes
from search.training.small_dense import policy_layers, refuse_own_module
from search.training.vectors import vectors_of


def plain_sizes_of(ppo: PPOConfig) -> PlainSizes:
    """Returns the sizes of plain policies, from a configuration's network, observations and actions.

    Args:
        ppo: Any PPO configuration of the new API stack with one policy.

    Raises:
        ConfigError: RLlib can't build the network.
    """
    refused: dict[str, str] = {}
    layers: tuple[tuple[int, int], ...] = ()
    linear = leaf = 1
    try:
        layers = policy_layers(ppo)
    except ConfigError as error:
        refused["small_dense"] = str(error)
    try:
        refuse_own_module("linear", ppo)
        linear = vectors_of("linear", ppo).linear
    except ConfigError as error:
        refused["linear"] = str(error)
    try:
        vectors = vectors_of("tree", ppo)
        leaf = 1 if vectors.discrete else vectors.actions
    except ConfigError as error:
        refused["tree"] = str(error)
    return PlainSizes(layers=layers, linear=linear, leaf=leaf, refused=refused)
