"""Applies an experiment's `vectorize` setting, the way members' environments step, to the engines."""

from __future__ import annotations

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.packed.blueprint import blueprint_of
from rllib_ext.packed.vectorize import with_vectorize
from rllib_ext.pruning.errors import ConfigError
from search.config.experiment import ExperimentConfig, Vectorize
from search.training.engine import Engine

_RLLIB = ("auto", "sync", "async")


def vectorized(config: ExperimentConfig, ppo: PPOConfig) -> PPOConfig:
    """Returns the members' PPO configuration with the setting for how their environments step.

    Args:
        config: The experiment.
        ppo: PPO configuration shared by all members; not modified.
    """
    if _said_elsewhere(config, ppo):
        return ppo
    found = with_vectorize(ppo, config.vectorize)
    if config.vectorize in ("sync", "async"):
        found.env_runners(gym_env_vectorize_mode=config.vectorize)
    return found


def stepped_by(config: ExperimentConfig, ppo: PPOConfig, engine: Engine) -> Vectorize:
    """Returns how environments step with an engine, for the configuration in the results folder.

    The result of "auto" depends on the installed packages, and a resumed search must not change it.

    Args:
        config: The experiment.
        ppo: PPO configuration returned by `vectorized`.
        engine: Engine that trains the members.

    Raises:
        ConfigError: The engine doesn't support the requested setting.
    """
    if engine.name == "packed":
        return "auto" if _said_elsewhere(config, ppo) else blueprint_of(ppo).vectorize
    if config.vectorize not in _RLLIB:
        raise ConfigError(
            f"vectorize = {config.vectorize!r}: RLlib's EnvRunners seed their environments when they "
            "reset them, and EnvPool's and native ones are seeded otherwise. "
            f"{engine.unpackable or 'Set engine: packed,'} or set vectorize: sync, async or auto."
        )
    return config.vectorize


def _said_elsewhere(config: ExperimentConfig, ppo: PPOConfig) -> bool:
    """Whether `vectorize` is "auto" and RLlib's own setting is given, which then applies."""
    usual = PPOConfig().gym_env_vectorize_mode
    return config.vectorize == "auto" and (
        "gym_env_vectorize_mode" in config.ppo.env_runners or ppo.gym_env_vectorize_mode != usual
    )
