"""Provides RLlib's own PPO network with an actor of a different width, or without hidden layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.models.configs import MLPEncoderConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from typing_extensions import override

from rllib_ext.rl.module.initial import InitialCatalog

# Model configuration keys that `NarrowActorCatalog` reads.
ENCODER, HEAD = "actor_hiddens", "actor_head_hiddens"


@dataclasses.dataclass
class PassedOn(MLPEncoderConfig):
    """Configuration of an encoder without layers, so that the head reads the observation directly."""

    @property
    @override
    def output_dims(self) -> tuple[int, ...]:
        return tuple(self.input_dims)


class NarrowActorCatalog(InitialCatalog):
    """A catalog of RLlib's own PPO network whose actor has its own hidden layers, or none (linear).

    The critic is unchanged, as it is for a pruned policy.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        hidden = self._model_config_dict[ENCODER]
        if hidden:
            narrow = {**self._model_config_dict, "fcnet_hiddens": hidden}
            self._actor_config = self._get_encoder_config(
                self.observation_space, narrow, self.action_space
            )
        else:
            self._actor_config = PassedOn(
                input_dims=self.observation_space.shape, hidden_layer_dims=()
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


def with_actor(
    ppo: PPOConfig, encoder: Sequence[int], head: Sequence[int], **model: Any
) -> PPOConfig:
    """Returns a copy of a configuration whose actor has different hidden layers from its critic.

    Args:
        ppo: PPO configuration with RLlib's own network; actor and critic share no layer.
        encoder: Units of each layer of the actor's encoder; empty if the head reads the observation.
        head: Units of each hidden layer of the policy head.
        **model: Settings that override those of the network's `model_config`.
    """
    found: PPOConfig = ppo.copy(copy_frozen=False)
    settings = {**ppo.model_config, **model, ENCODER: list(encoder), HEAD: list(head)}
    spec = RLModuleSpec(catalog_class=NarrowActorCatalog, model_config=settings)
    found.rl_module(rl_module_spec=spec)
    return found
