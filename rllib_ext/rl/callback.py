"""The RLlib callback that connects evaluation with pruning and reports the pruning's state."""

from __future__ import annotations

import copy
import functools
import logging
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core import COMPONENT_ENV_TO_MODULE_CONNECTOR
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    EPISODE_RETURN_MEAN,
)

from rllib_ext.evaluation.reference import random_policy_episodes
from rllib_ext.rl.filter_deltas import FilterDeltas
from rllib_ext.rl.lost_pruning import PRUNING_KEY, ConductsPruning, refuse_lost_pruning

logger = logging.getLogger(__name__)

_CONNECTORS = COMPONENT_ENV_TO_MODULE_CONNECTOR
# Number of episodes over which the random policy's return is averaged.
RANDOM_EPISODES = 20


class PruningCallback(ConductsPruning, RLlibCallback):
    """Callback that passes evaluations to the Learners and adds their report to the result.

    After each evaluation it gives the mean return – of the masked policy as it is now – to every
    Learner, which uses it for its decision at the start of its next update. After each iteration it puts
    the Learner's report under `result["pruning"]`: total and per-layer sparsity, the extent in force,
    events, and the remaining patience.

    The statistics of the EnvRunners' connectors, such as an observation filter's, belong to the policy
    too: when the Learner rolls back or rewinds, the callback restores the statistics of that time. On
    each EnvRunner it corrects the increments by which RLlib merges them.

    All lasting state is kept in the Learner, because RLlib never saves callbacks.
    """

    @functools.cached_property
    def _filter_deltas(self) -> FilterDeltas:
        """Corrections for the EnvRunner that this callback object belongs to."""
        return FilterDeltas()

    def on_sample_end(self, *, env_runner: Any = None, **kwargs: Any) -> None:
        """Corrects the increments by which RLlib merges observation filters over EnvRunners."""
        env_to_module = getattr(env_runner, "_env_to_module", None)
        if env_to_module is not None:
            self._filter_deltas.correct(env_to_module)

    def on_algorithm_init(self, *, algorithm: Algorithm, **kwargs: Any) -> None:
        """Measures the random policy's return if the schedule needs it and it isn't given."""
        refuse_lost_pruning(algorithm.config)
        pruning = algorithm.config.learner_config_dict[PRUNING_KEY]
        if pruning["schedule"] != "plateau" or pruning["random_return"] is not None:
            return
        episodes = random_policy_episodes(algorithm.config, seeds=range(RANDOM_EPISODES))
        logger.info("random policy: mean return %.4g (%d episodes)", episodes.mean, episodes.count)
        foreach_learner(algorithm, _set_random_return, random_return=episodes.mean)

    def on_evaluate_start(self, *, algorithm: Algorithm, **kwargs: Any) -> None:
        """Restores the connector statistics that belong to a policy that was rolled back or rewound."""
        _bring_connectors_back(algorithm)

    def on_evaluate_end(
        self, *, algorithm: Algorithm, evaluation_metrics: dict[str, Any], **kwargs: Any
    ) -> None:
        """Gives the evaluation's mean return to the Learners.

        This is done here and not in `on_train_result`, because RLlib repeats an evaluation in the
        results of later iterations.
        """
        returns = evaluation_metrics.get(ENV_RUNNER_RESULTS, {})
        if EPISODE_RETURN_MEAN in returns:
            hand_over_evaluation(algorithm, float(returns[EPISODE_RETURN_MEAN]))

    def on_train_result(
        self, *, algorithm: Algorithm, result: dict[str, Any], **kwargs: Any
    ) -> None:
        """Adds the first Learner's report to the result, and stores the connectors' state."""
        result["pruning"] = foreach_learner(algorithm, _report)[0]
        _bring_connectors_back(algorithm)
        pruning = algorithm.config.learner_config_dict[PRUNING_KEY]
        if pruning["schedule"] == "plateau" or pruning["rewind_to"] is not None:
            state = algorithm.env_runner.get_state(components=_CONNECTORS).get(_CONNECTORS, {})
            if state:
                foreach_learner(algorithm, _note_connectors, state=copy.deepcopy(state))


def hand_over_evaluation(algorithm: Algorithm, evaluated_return: float) -> None:
    """Gives the Learners the result of an evaluation that was made outside `Algorithm.train`.

    Args:
        algorithm: Algorithm that trains the evaluated policy, which must not have changed since.
        evaluated_return: Mean return of that policy over fresh episodes.
    """
    foreach_learner(algorithm, _observe, evaluated_return=evaluated_return)


def masks_of(algorithm: Algorithm) -> dict[str, torch.Tensor]:
    """Returns the masks in force, from the first Learner; True = keep."""
    masks: dict[str, torch.Tensor] = foreach_learner(algorithm, _masks)[0]
    return masks


def foreach_learner(algorithm: Algorithm, function: Any, **kwargs: Any) -> list[Any]:
    """Calls a function with each Learner and the keyword arguments, and returns the results."""
    results = algorithm.learner_group.foreach_learner(function, **kwargs)
    return [result.get() for result in results]


def _bring_connectors_back(algorithm: Algorithm) -> None:
    states = foreach_learner(algorithm, _take_returning)
    if not states or states[0] is None:
        return
    state = {_CONNECTORS: states[0]}
    for group in (algorithm.env_runner_group, algorithm.eval_env_runner_group):
        if group is not None:
            group.foreach_env_runner(lambda runner: runner.set_state(state))


def _take_returning(learner: Any) -> dict[str, Any] | None:
    state: dict[str, Any] | None = learner.returning
    learner.returning = None
    return state


def _note_connectors(learner: Any, state: dict[str, Any]) -> None:
    learner.connectors = state


def _observe(learner: Any, evaluated_return: float) -> None:
    learner.pruner.observe(evaluated_return)


def _report(learner: Any) -> dict[str, Any]:
    report: dict[str, Any] = learner.pruner.report()
    return report


def _set_random_return(learner: Any, random_return: float) -> None:
    learner.pruner.random_return = random_return


def _masks(learner: Any) -> dict[str, torch.Tensor]:
    return {name: mask.cpu() for name, mask in learner.pruner.masks.items()}
