"""How members' environments step: from the experiment to who trains them."""

from __future__ import annotations

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.packed.blueprint import blueprint_of
from rllib_ext.packed.vectorize import with_vectorize
from rllib_ext.pruning.errors import ConfigError
from search.config.experiment import ExperimentConfig, Vectorize
from search.training.engine import Engine

_RLLIB = ("auto", "sync", "async")


def vectorized(config: ExperimentConfig, ppo: PPOConfig) -> PPOConfig:
    """What members share, told how their environments step.

    Args:
        config: The experiment.
        ppo: What its members share; left as it is.
    """
    if _said_elsewhere(config, ppo):
        return ppo
    found = with_vectorize(ppo, config.vectorize)
    if config.vectorize in ("sync", "async"):
        found.env_runners(gym_env_vectorize_mode=config.vectorize)
    return found


def stepped_by(config: ExperimentConfig, ppo: PPOConfig, engine: Engine) -> Vectorize:
    """How environments step, once it is known who trains; a results folder's configuration says so.

    What "auto" finds depends on what is installed, and a search goes on as it began.

    Args:
        config: The experiment.
        ppo: What `vectorized` gave.
        engine: Trains.

    Raises:
        ConfigError: The engine can't do what is asked for.
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
    """Whether RLlib's own setting is given, and holds."""
    usual = PPOConfig().gym_env_vectorize_mode
    return config.vectorize == "auto" and (
        "gym_env_vectorize_mode" in config.ppo.env_runners or ppo.gym_env_vectorize_mode != usual
    )
