"""Checks that a configuration still has the Learner and the callback that `with_pruning` added."""

from __future__ import annotations

import functools
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils import force_list

from rllib_ext.pruning.errors import ConfigError

# Key of the pruning configuration in `learner_config_dict`, and of the masks in Learner state.
PRUNING_KEY = "pruning"


class KeepsMasks:
    """Marks the Learner classes that prune."""


class ConductsPruning:
    """Marks the callback that hands evaluations to the Learners and reports."""


def refuse_lost_pruning(config: AlgorithmConfig) -> None:
    """Checks that a configuration made by `with_pruning` still has what that added.

    Raises:
        ConfigError: A later `callbacks(…)` or `learners(…)` has replaced it.
    """
    lost = []
    if not issubclass(config.learner_class, KeepsMasks):
        call = f"learners(learner_class={config.learner_class.__name__})"
        lost.append((call, "nothing would be pruned"))
    if not any(map(_is_ours, force_list(config.callbacks_class))):
        lost.append(
            ("callbacks(…)", "nothing would be reported, and no evaluation reach the pruning")
        )
    if lost:
        calls, consequences = (", and ".join(texts) for texts in zip(*lost, strict=True))
        raise ConfigError(
            f"{calls} came after with_pruning and replaced what it had added: {consequences}. Call "
            "with_pruning last: what is there already goes on beside it."
        )


def check_on_init(*, algorithm: Algorithm, **kwargs: Any) -> None:
    """Makes the same check as a callback function, which a later `callbacks(Class)` leaves in place."""
    refuse_lost_pruning(algorithm.config)


def _is_ours(callback: Any) -> bool:
    made_by = callback.func if isinstance(callback, functools.partial) else callback
    return isinstance(made_by, type) and issubclass(made_by, ConductsPruning)
