"""What RLlib takes in a PPO configuration though it makes no sense: refused before anything trains."""

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
    """Looks whether all that a configuration sets is read, and can mean something.

    Args:
        ppo: What the members of a search train with.
        training: What the message names before a hyperparameter that is out of its range.

    Raises:
        ConfigError: The value makes no sense; the message says what was expected.
    """
    refuse_other_than_classes(ppo)
    refuse_ignored(ppo)
    refuse_unknown_model_keys(ppo)
    for name in RANGED:
        value = ppo._train_batch_size_per_learner if name == _OWN_BATCH else getattr(ppo, name)
        if wanted := expected(name, value):
            raise ConfigError(f"{training}.{name} = {value!r}; expected {wanted}.")


def misspelt(method: str, arguments: Mapping[str, Any]) -> str:
    """A hint for the first argument that none of the method's versions names."""
    versions = [vars(c)[method] for c in PPOConfig.__mro__ if method in vars(c)]
    known = {name for version in versions for name in inspect.signature(version).parameters}
    unknown = [name for name in arguments if name not in known]
    if not unknown:
        return ""
    return nearest(unknown[0], sorted(known - {"self", "kwargs"}), ELSEWHERE)


# As an attribute RLlib derives it where it isn't given.
_OWN_BATCH = "train_batch_size_per_learner"
