"""Refuses meaningless PPO settings that RLlib would accept, before anything trains."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.base.hints import ELSEWHERE, nearest
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.settings.classes import refuse_other_than_classes
from rllib_ext.rl.settings.ignored import refuse_ignored
from rllib_ext.rl.settings.model_keys import refuse_unknown_model_keys
from rllib_ext.rl.settings.ranges import RANGED, expected


def refuse_meaningless(ppo: PPOConfig, training: str = "ppo.training") -> None:
    """Checks that every setting of a configuration is used by RLlib and has a meaningful value.

    Args:
        ppo: PPO configuration of a search's members.
        training: Prefix of a hyperparameter's name in the message about a value out of range.

    Raises:
        ConfigError: A setting is ignored or meaningless; the message says what was expected.
    """
    refuse_other_than_classes(ppo)
    refuse_ignored(ppo)
    refuse_unknown_model_keys(ppo)
    for name in RANGED:
        value = ppo._train_batch_size_per_learner if name == _OWN_BATCH else getattr(ppo, name)
        if wanted := expected(name, value):
            raise ConfigError(f"{training}.{name} = {value!r}; expected {wanted}.")


def misspelt(method: str, arguments: Mapping[str, Any]) -> str:
    """Returns a hint for the first argument unknown to all base classes' versions of the method."""
    versions = [vars(c)[method] for c in PPOConfig.__mro__ if method in vars(c)]
    known = {name for version in versions for name in inspect.signature(version).parameters}
    unknown = [name for name in arguments if name not in known]
    if not unknown:
        return ""
    return nearest(unknown[0], sorted(known - {"self", "kwargs"}), ELSEWHERE)


# RLlib's attribute of this name returns a derived value if none was given.
_OWN_BATCH = "train_batch_size_per_learner"
