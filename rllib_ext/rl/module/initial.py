"""Initial weights for RLlib's own PPO network, as stable-baselines3's policies have them.

RLlib's catalog offers no control over the heads. The one defined here reads two additional keys in
`model_config`, named as in rl-baselines3-zoo's `policy_kwargs`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
from ray.rllib.core.distribution.torch.torch_distribution import TorchDiagGaussian
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import nn
from typing_extensions import override

from rllib_ext.pruning.errors import ConfigError

# Keys of a model configuration that `InitialCatalog` reads.
ORTHOGONAL, LOG_STD = "ortho_init", "log_std_init"
KEYS = (ORTHOGONAL, LOG_STD)
# Gains of stable-baselines3's ActorCriticPolicy.
HIDDEN_GAIN, POLICY_GAIN, VALUE_GAIN = math.sqrt(2.0), 0.01, 1.0


class InitialCatalog(PPOCatalog):
    """Catalog that builds RLlib's own PPO network with other initial weights.

    With `ortho_init` in the model configuration all layers are orthogonal and biases are 0. The gain is
    √2, except for the policy's last layer, where it is 0.01, so that a fresh policy acts alike
    everywhere, and the value's last layer, where it is 1. `log_std_init` is the initial log standard
    deviation of continuous actions, whether it is a free parameter or an output of the network.
    """

    @override
    def build_actor_critic_encoder(self, framework: str) -> Any:
        return self.initialised(super().build_actor_critic_encoder(framework))

    @override
    def build_pi_head(self, framework: str) -> Any:
        head: Any = self.initialised(super().build_pi_head(framework), POLICY_GAIN)
        first = self._model_config_dict.get(LOG_STD)
        if first is None:
            return head
        kind = self.get_action_dist_cls(framework)
        if not issubclass(kind, TorchDiagGaussian):
            raise ConfigError(
                f"model_config: {LOG_STD} = {first!r} is of continuous actions, but the policy draws "
                f"from {kind.__name__}. Leave it out."
            )
        with torch.no_grad():
            if hasattr(head, "log_std"):
                head.log_std.fill_(first)
            else:
                bias = _layers(head)[-1].bias
                bias[len(bias) // 2 :] = first
        return head

    @override
    def build_vf_head(self, framework: str) -> Any:
        return self.initialised(super().build_vf_head(framework), VALUE_GAIN)

    def initialised(self, network: Any, last_gain: float = HIDDEN_GAIN) -> Any:
        """Gives a part of the network its initial weights, in place, if `ortho_init` is set.

        Args:
            network: A torch module built by RLlib.
            last_gain: Gain of its last layer.
        """
        if self._model_config_dict.get(ORTHOGONAL):
            layers = _layers(network)
            for layer in layers:
                gain = last_gain if layer is layers[-1] else HIDDEN_GAIN
                nn.init.orthogonal_(layer.weight, gain)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        return network


def _layers(network: nn.Module) -> list[Any]:
    return [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def with_initial_weights(
    ppo_config: PPOConfig, *, ortho_init: bool = False, log_std_init: float | None = None
) -> PPOConfig:
    """Returns a copy of a PPO configuration whose network, RLlib's own, starts from other weights.

    Args:
        ppo_config: PPO configuration for RLlib's own network, with its `model_config` set; left
            unchanged.
        ortho_init: Whether layers start orthogonal, the policy's last one with a small gain.
        log_std_init: Initial log standard deviation of continuous actions; None keeps RLlib's, about 0.

    Raises:
        ConfigError: The configuration has a module or a catalog of its own, or a value is invalid.
    """
    refuse_wrong_values({ORTHOGONAL: ortho_init, LOG_STD: log_std_init})
    spec = ppo_config._rl_module_spec
    if spec is not None and getattr(spec, "catalog_class", None) is not InitialCatalog:
        raise ConfigError(
            f"model_config: {ORTHOGONAL} and {LOG_STD} are of RLlib's own network, but there is an "
            "rl_module_spec. Let the RLModule or catalog there set its first weights."
        )
    config: PPOConfig = ppo_config.copy(copy_frozen=False)
    keys = {ORTHOGONAL: ortho_init, LOG_STD: log_std_init}
    config.rl_module(
        model_config={**_as_mapping(ppo_config._model_config), **keys},
        rl_module_spec=RLModuleSpec(catalog_class=InitialCatalog),
    )
    return config


def constants_of(module: nn.Module) -> tuple[float, ...]:
    """Returns the constants, if any, that `InitialCatalog` has set biases of a module to.

    Args:
        module: An RLModule.
    """
    model_config = getattr(module, "model_config", None)
    first = model_config.get(LOG_STD) if isinstance(model_config, Mapping) else None
    return (float(first),) if isinstance(first, int | float) else ()


def refuse_wrong_values(model_config: Mapping[str, Any]) -> None:
    """Checks the values of the keys that `InitialCatalog` reads.

    Raises:
        ConfigError: A value is invalid.
    """
    orthogonal, log_std = model_config.get(ORTHOGONAL, False), model_config.get(LOG_STD)
    if not isinstance(orthogonal, bool):
        raise ConfigError(f"model_config: {ORTHOGONAL} = {orthogonal!r}; expected true or false.")
    number = isinstance(log_std, int | float) and not isinstance(log_std, bool)
    if log_std is not None and not (number and math.isfinite(log_std)):
        raise ConfigError(f"model_config: {LOG_STD} = {log_std!r}; expected a number, or null.")


def _as_mapping(model_config: Any) -> Mapping[str, Any]:
    if isinstance(model_config, Mapping):
        return model_config
    return vars(model_config) if model_config is not None else {}
