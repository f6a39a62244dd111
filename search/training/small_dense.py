"""A dense policy with about as many weights as a pruned one: what pruning has to beat."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from typing_extensions import override

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.rl.module.critic import critic_names
from rllib_ext.rl.module.initial import InitialCatalog

# Keys of a model configuration that `NarrowActorCatalog` reads.
ENCODER, HEAD = "actor_hiddens", "actor_head_hiddens"


class NarrowActorCatalog(InitialCatalog):
    """RLlib's own PPO network with hidden layers of another width in the actor.

    The critic stays what it is: a pruned policy keeps its critic too.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        narrow = {**self._model_config_dict, "fcnet_hiddens": self._model_config_dict[ENCODER]}
        self._actor_config = self._get_encoder_config(
            self.observation_space, narrow, self.action_space
        )

    @override
    def build_actor_critic_encoder(self, framework: str) -> Any:
        encoder: Any = super().build_actor_critic_encoder(framework)
        actor = self._actor_config.build(framework=framework)
        encoder.actor_encoder = self.initialised(actor)
        return encoder

    @override
    def build_pi_head(self, framework: str) -> Any:
        wide: Any = self.latent_dims, self.pi_and_vf_head_hiddens  # type: ignore[has-type]
        self._latent_dims = self._actor_config.output_dims
        self.pi_and_vf_head_hiddens = self._model_config_dict[HEAD]
        try:
            return super().build_pi_head(framework)
        finally:
            self._latent_dims, self.pi_and_vf_head_hiddens = wide


def small_dense(ppo: PPOConfig, weights: int) -> PPOConfig:
    """A configuration whose policy is dense and has about so many weights.

    All hidden layers of the policy shrink by the same factor; where actor and critic have no layer in
    common, the critic's stay.

    Args:
        ppo: With RLlib's own network of linear layers.
        weights: Weights on the policy path, biases apart; the largest network with no more is built,
            or the smallest there is, one unit a layer.

    Raises:
        ConfigError: The network is none of linear layers alone, so no width says how large it is.
    """
    layers = _policy_layers(ppo)
    hidden = [layer[0] for layer in layers[:-1]]
    if not hidden:
        raise ConfigError("small_dense: the policy has no hidden layer that could be narrower.")
    ends = layers[0][1], layers[-1][0]
    widths = [1] * len(hidden)
    for k in range(1, max(hidden) + 1):
        tried = [max(1, round(width * k / max(hidden))) for width in hidden]
        if _count(ends, tried) <= weights:
            widths = tried
    model = dict(ppo.model_config)
    heads = len(model.get("head_fcnet_hiddens") or ())
    encoder, head = widths[: len(widths) - heads], widths[len(widths) - heads :]
    small: PPOConfig = ppo.copy(copy_frozen=False)
    if model.get("vf_share_layers", True):
        small.rl_module(
            model_config={**model, "fcnet_hiddens": encoder, "head_fcnet_hiddens": head}
        )
        return small
    small.rl_module(
        rl_module_spec=RLModuleSpec(
            catalog_class=NarrowActorCatalog,
            model_config={**model, ENCODER: encoder, HEAD: head},
        )
    )
    return small


def _policy_layers(ppo: PPOConfig) -> list[tuple[int, int]]:
    """Outputs and inputs of each layer of the policy, from observation to action."""
    spec = ppo._rl_module_spec
    if spec is not None and spec.catalog_class is not InitialCatalog:
        raise ConfigError(
            "small_dense: the configuration has an RLModule spec of its own; expected RLlib's own "
            "network."
        )
    module = _module(ppo)
    found = prunable_weights(module, critic_names(module)).policy
    shapes = [tuple(weight.shape) for weight in found.values()]
    chained = all(len(a) == len(b) == 2 and b[1] == a[0] for a, b in itertools.pairwise(shapes))
    if not chained or module.is_stateful():
        raise ConfigError(
            "small_dense: the policy is no chain of linear layers, so no width says how large it is. "
            "Leave baselines.small_dense at 0."
        )
    return [(int(out), int(inputs)) for out, inputs in shapes]


def _module(ppo: PPOConfig) -> Any:
    env = env_maker(ppo)()
    spaces = env.observation_space, env.action_space
    env.close()
    given: dict[str, tuple[Any, Any]] = {INPUT_ENV_SPACES: spaces, INPUT_ENV_SINGLE_SPACES: spaces}
    connectors = ppo.build_env_to_module_connector(spaces=given)
    given[DEFAULT_MODULE_ID] = connectors.observation_space, spaces[1]
    return ppo.get_rl_module_spec(spaces=given, inference_only=False).build()


def _count(ends: tuple[int, int], widths: Sequence[int]) -> int:
    return sum(a * b for a, b in itertools.pairwise([ends[0], *widths, ends[1]]))
