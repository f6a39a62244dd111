"""Policies in use: an RLModule that acts in several episodes at once.

Deterministic, or drawn from the policy's distribution, each episode from its own seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.spaces.space_utils import unbatch
from typing_extensions import override

from rllib_ext.evaluation.evaluator import Observations, Policy
from rllib_ext.policy.draws import Draws
from rllib_ext.policy.shortcut import Shortcut


class ConnectorPolicy(Policy):
    """Acts through an RLModule and its own connector pipelines.

    Observations take the very way they took in training: frame stacking, filters, recurrent state.

    Args:
        module: The RLModule.
        env_to_module: Pipeline from episodes to the module's batch.
        module_to_env: Pipeline from the module's outputs to actions.
        stochastic: Whether actions are drawn from the policy's distribution, each episode's from its
            own seed; otherwise the mode is taken.
    """

    def __init__(
        self,
        module: RLModule,
        env_to_module: EnvToModulePipeline,
        module_to_env: ModuleToEnvPipeline,
        *,
        stochastic: bool = False,
    ) -> None:
        self.module = module
        self._draws = Draws(module) if stochastic else None
        self._env_to_module = env_to_module
        self._module_to_env = module_to_env
        kinds = (gymnasium.spaces.Tuple, gymnasium.spaces.Dict)
        self._is_nested = isinstance(module.action_space, kinds)
        # Of those under way, by number, and what the module gave last.
        self._episodes: dict[int, SingleAgentEpisode] = {}
        self._latest: dict[int, dict[str, Any]] = {}

    @override
    def begin(self, seeds: Sequence[int]) -> None:
        self._episodes, self._latest = {}, {}
        if self._draws is not None:
            self._draws.begin(seeds)

    @override
    def act(
        self, episodes: Sequence[int], observations: Observations, rewards: Sequence[float]
    ) -> list[Any]:
        for i in self._episodes.keys() - set(episodes):
            # It is over, and holds all that was seen in it.
            del self._episodes[i], self._latest[i]
        for i, observation, reward in zip(episodes, observations, rewards, strict=True):
            if i in self._episodes:
                latest = self._latest[i]
                action = latest.pop(Columns.ACTIONS)
                self._episodes[i].add_env_step(
                    observation, action, reward, extra_model_outputs=latest
                )
            else:
                self._episodes[i] = self._started()
                self._episodes[i].add_env_reset(observation)
        active = [self._episodes[i] for i in episodes]
        shared: dict[str, Any] = {}
        explore = self._draws is not None
        common = {"rl_module": self.module, "explore": explore, "shared_data": shared}
        with torch.no_grad():
            batch = self._env_to_module(episodes=active, batch={}, metrics=None, **common)
            outputs = self._outputs(batch, episodes)
            outputs = self._module_to_env(episodes=active, batch=outputs, metrics=None, **common)
        actions = outputs.pop(Columns.ACTIONS)
        for_env = _by_episode(outputs.pop(Columns.ACTIONS_FOR_ENV, actions))
        for row, (i, action) in enumerate(zip(episodes, _by_episode(actions), strict=True)):
            self._latest[i] = {key: values[row] for key, values in outputs.items()}
            self._latest[i][Columns.ACTIONS] = action
        return for_env

    def _started(self) -> SingleAgentEpisode:
        # Frame stacking fills up with zeros of the space's shape.
        return SingleAgentEpisode(
            observation_space=self._env_to_module.input_observation_space,
            action_space=self._env_to_module.input_action_space,
        )

    def _outputs(self, batch: dict[str, Any], episodes: Sequence[int]) -> dict[str, Any]:
        """The module's outputs, with actions wherever RLlib's connector would not do to add them.

        That connector passes over actions that are there, such as those that a module gives itself.
        """
        if self._draws is None:
            outputs: dict[str, Any] = self.module.forward_inference(batch)
            if self._is_nested and Columns.ACTIONS not in outputs:
                # RLlib also asks for the mode's log-probability, which fails where a part is a Box.
                distribution = self.module.get_inference_action_dist_cls()
                mode = distribution.from_logits(outputs[Columns.ACTION_DIST_INPUTS])
                outputs[Columns.ACTIONS] = mode.to_deterministic().sample()
            return outputs
        outputs = self._draws.outputs(batch)
        if Columns.ACTIONS not in outputs:
            logits = outputs[Columns.ACTION_DIST_INPUTS]
            outputs[Columns.ACTIONS] = self._draws.actions(logits, episodes)
        return outputs


def _by_episode(actions: Any) -> list[Any]:
    """The actions of each episode, of a batch that is nested as one action is."""
    apart: list[Any] = list(actions) if isinstance(actions, np.ndarray) else unbatch(actions)
    return apart


class DirectPolicy(Policy):
    """Acts straight through an RLModule, with RLlib's default connectors taken as a `Shortcut`.

    Gives the actions of `ConnectorPolicy` some fifteen times faster.

    Args:
        module: The RLModule; not recurrent.
        shortcut: From the environments to the module and back.
        stochastic: Whether actions are drawn from the policy's distribution.
    """

    def __init__(
        self, module: RLModule, shortcut: Shortcut | None = None, *, stochastic: bool = False
    ) -> None:
        self.module = module
        self.shortcut = shortcut or Shortcut()
        self.stochastic = stochastic
        self._draws = Draws(module) if stochastic else None
        self._distribution = module.get_inference_action_dist_cls()

    @override
    def begin(self, seeds: Sequence[int]) -> None:
        if self._draws is not None:
            self._draws.begin(seeds)

    @override
    def act(
        self, episodes: Sequence[int], observations: Observations, rewards: Sequence[float]
    ) -> Sequence[Any]:
        batch = {Columns.OBS: torch.from_numpy(self.shortcut.observed(observations))}
        with torch.no_grad():
            if self._draws is not None:
                outputs = self._draws.outputs(batch)
            else:
                outputs = self.module.forward_inference(batch)
        if Columns.ACTIONS in outputs:
            actions = outputs[Columns.ACTIONS]
        elif self._draws is not None:
            actions = self._draws.actions(outputs[Columns.ACTION_DIST_INPUTS], episodes)
        else:
            logits = outputs[Columns.ACTION_DIST_INPUTS]
            actions = self._distribution.from_logits(logits).to_deterministic().sample()
        return self.shortcut.taken(actions.numpy())
