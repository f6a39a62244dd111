"""The callback that conducts pruning: hands evaluations to the Learners and reports what stands."""

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
# Episodes that tell how well a policy does that acts at random.
RANDOM_EPISODES = 20


class PruningCallback(ConductsPruning, RLlibCallback):
    """Closes the loop between evaluation and pruning.

    After each evaluation it gives the return – of the masked policy as it is now – to every Learner,
    which decides with it at the start of its next update. After each iteration it puts the Learner's
    report under `result["pruning"]`: sparsity in all and per layer, extent in force, events, patience
    left.

    The statistics of the EnvRunners' connectors, such as an observation filter's, belong to the policy
    too: where the Learner rolls back, or rewinds, it puts those of that time in force. On each
    EnvRunner it corrects what RLlib joins them by.

    It holds no state that is worth keeping: RLlib never saves callbacks. All such is the Learner's.
    """

    @functools.cached_property
    def _filter_deltas(self) -> FilterDeltas:
        """Of the EnvRunner that this object was made for."""
        return FilterDeltas()

    def on_sample_end(self, *, env_runner: Any = None, **kwargs: Any) -> None:
        """Lets observation filters be joined over EnvRunners as they should."""
        env_to_module = getattr(env_runner, "_env_to_module", None)
        if env_to_module is not None:
            self._filter_deltas.correct(env_to_module)

    def on_algorithm_init(self, *, algorithm: Algorithm, **kwargs: Any) -> None:
        """Measures the random policy's return where the schedule needs it and it isn't given."""
        refuse_lost_pruning(algorithm.config)
        pruning = algorithm.config.learner_config_dict[PRUNING_KEY]
        if pruning["schedule"] != "plateau" or pruning["random_return"] is not None:
            return
        episodes = random_policy_episodes(algorithm.config, seeds=range(RANDOM_EPISODES))
        logger.info("random policy: mean return %.4g (%d episodes)", episodes.mean, episodes.count)
        foreach_learner(algorithm, _set_random_return, random_return=episodes.mean)

    def on_evaluate_start(self, *, algorithm: Algorithm, **kwargs: Any) -> None:
        """Evaluates a policy that has come back with the connectors' statistics of its time."""
        _bring_connectors_back(algorithm)

    def on_evaluate_end(
        self, *, algorithm: Algorithm, evaluation_metrics: dict[str, Any], **kwargs: Any
    ) -> None:
        """Hands the evaluation to the Learners.

        Here and not with the result: RLlib repeats an evaluation in the results of later iterations.
        """
        returns = evaluation_metrics.get(ENV_RUNNER_RESULTS, {})
        if EPISODE_RETURN_MEAN in returns:
            hand_over_evaluation(algorithm, float(returns[EPISODE_RETURN_MEAN]))

    def on_train_result(
        self, *, algorithm: Algorithm, result: dict[str, Any], **kwargs: Any
    ) -> None:
        """Takes the first Learner's report, and notes the connectors' statistics."""
        result["pruning"] = foreach_learner(algorithm, _report)[0]
        _bring_connectors_back(algorithm)
        pruning = algorithm.config.learner_config_dict[PRUNING_KEY]
        if pruning["schedule"] == "plateau" or pruning["rewind_to"] is not None:
            state = algorithm.env_runner.get_state(components=_CONNECTORS).get(_CONNECTORS, {})
            if state:
                foreach_learner(algorithm, _note_connectors, state=copy.deepcopy(state))


def hand_over_evaluation(algorithm: Algorithm, evaluated_return: float) -> None:
    """Gives the Learners an evaluation that was made outside `Algorithm.train`.

    Args:
        algorithm: Trains the policy that was evaluated, unchanged since.
        evaluated_return: Mean return of its fresh episodes.
    """
    foreach_learner(algorithm, _observe, evaluated_return=evaluated_return)


def masks_of(algorithm: Algorithm) -> dict[str, torch.Tensor]:
    """The masks in force, from the first Learner; True = keep."""
    masks: dict[str, torch.Tensor] = foreach_learner(algorithm, _masks)[0]
    return masks


def foreach_learner(algorithm: Algorithm, function: Any, **kwargs: Any) -> list[Any]:
    """What a function returns for each Learner; called with it and the keyword arguments."""
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
