"""The way of RLlib's own connectors in arrays, for policies that need no more than they do.

RLlib's pipelines take each episode's observation and action by itself through a dozen Python objects:
longer than a step of HalfCheetah. With its default connectors, and at most a filter of observations
beside them, the same comes of a few operations on all episodes at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from ray.rllib.connectors.env_to_module import EnvToModulePipeline, MeanStdFilter
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical, TorchDiagGaussian
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.filter import RunningStat
from ray.rllib.utils.numpy import SMALL_NUMBER
from ray.rllib.utils.spaces.space_utils import clip_action, unsquash_action

from rllib_ext.evaluation.evaluator import Observations

Array = np.ndarray[Any, np.dtype[Any]]

# What RLlib adds by itself. A policy without memory passes through those of states and time unchanged.
_TO_MODULE = frozenset(
    [
        "AddObservationsFromEpisodesToBatch",
        "AddTimeDimToBatchAndZeroPad",
        "AddStatesFromEpisodesToBatch",
        "BatchIndividualItems",
        "NumpyToTensor",
    ]
)
_TO_ENV = frozenset(
    [
        "GetActions",
        "TensorToNumpy",
        "UnBatchToIndividualItems",
        "RemoveSingleTsTimeRankFromBatch",
        "NormalizeAndClipActions",
        "ListifyDataForVectorEnv",
    ]
)


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """The normalisation by RLlib's MeanStdFilter once its statistics are frozen.

    Attributes:
        mean: Subtracted; of an observation's shape.
        scale: Divided by; of an observation's shape.
        limit: Clipped to ± this; ∞: not clipped.
    """

    mean: Array
    scale: Array
    limit: float

    def __call__(self, observations: Array) -> Array:
        """Normalises observations of shape (episodes, …); of their dtype."""
        normalised = np.clip((observations - self.mean) / self.scale, -self.limit, self.limit)
        return normalised.astype(observations.dtype)


@dataclasses.dataclass(frozen=True)
class Shortcut:
    """The way from environments to a module and back, without connectors.

    Attributes:
        normalisation: Normalisation of observations; None leaves them unchanged.
        action_space: One environment's; None: actions pass as they are.
        unsquash: Whether actions in [−1, 1] stand for the action space's bounds.
        clip: Whether actions are clipped to the bounds otherwise.
    """

    normalisation: Normalisation | None = None
    action_space: gymnasium.Space[Any] | None = None
    unsquash: bool = False
    clip: bool = False

    def observed(self, observations: Observations) -> Array:
        """Returns the module's observations, shape (episodes, …), float32."""
        seen = np.asarray(observations)
        if self.normalisation is not None:
            seen = self.normalisation(seen)
        return seen.astype(np.float32, copy=False)

    def taken(self, actions: Array) -> Sequence[Any]:
        """Returns the environments' actions for the module's actions."""
        if self.action_space is not None and self.unsquash:
            actions = unsquash_action(actions, self.action_space)
        elif self.action_space is not None and self.clip:
            actions = clip_action(actions, self.action_space)
        return list(actions)


def shortcut_of(
    module: RLModule, env_to_module: EnvToModulePipeline, module_to_env: ModuleToEnvPipeline
) -> Shortcut | None:
    """The shortcut of a policy; None where its connectors or its module do more.

    Args:
        module: The policy's.
        env_to_module: Pipeline from episodes to the module's batch.
        module_to_env: Pipeline from the module's outputs to actions.
    """
    normalisation = None
    for connector in env_to_module:
        if type(connector) is MeanStdFilter and not connector._multi_agent and not normalisation:
            normalisation = _normalisation_of(connector)
        elif not _among(connector, _TO_MODULE):
            return None
    if not all(_among(connector, _TO_ENV) for connector in module_to_env):
        return None
    to_bounds = [c for c in module_to_env if type(c).__name__ == "NormalizeAndClipActions"]
    if len(to_bounds) != 1 or module.is_stateful() or not _is_plain(module):
        return None
    (bounds,) = to_bounds
    if isinstance(module.action_space, gymnasium.spaces.Discrete):
        return Shortcut(normalisation)
    return Shortcut(
        normalisation,
        module.action_space,
        bool(bounds.normalize_actions),
        bool(bounds.clip_actions),
    )


def _among(connector: Any, names: frozenset[str]) -> bool:
    kind = type(connector)
    return kind.__name__ in names and kind.__module__.startswith("ray.rllib.connectors.")


def _is_plain(module: RLModule) -> bool:
    """Whether spaces are simple, and actions those of RLlib's own distributions."""
    observations, actions = module.observation_space, module.action_space
    if type(observations) is not gymnasium.spaces.Box:
        return False
    expected: type[Any]
    if type(actions) is gymnasium.spaces.Discrete and int(actions.start) == 0:
        expected = TorchCategorical
    elif type(actions) is gymnasium.spaces.Box and actions.dtype in ("float32", "float64"):
        expected = TorchDiagGaussian
    else:
        return False
    found = (module.get_inference_action_dist_cls(), module.get_exploration_action_dist_cls())
    return found == (expected, expected)


def _normalisation_of(connector: MeanStdFilter) -> Normalisation:
    (state,) = connector.get_state().values()
    statistics = RunningStat.from_state(state["running_stats"][0])
    mean, scale = np.zeros(statistics.shape), np.ones(statistics.shape)
    if state["de_mean_to_zero"]:
        mean = statistics.mean
    if state["de_std_to_one"]:
        scale = statistics.std + SMALL_NUMBER
    return Normalisation(mean, scale, state["clip_by_value"] or np.inf)
