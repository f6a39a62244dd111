"""Which layers a policy network applies to what, read from an RLlib module that can be stacked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.models.torch.encoder import TorchActorCriticEncoder, TorchMLPEncoder
from ray.rllib.core.models.torch.heads import TorchFreeLogStdMLPHead, TorchMLPHead
from torch import Tensor, nn

from rllib_ext.pruning.errors import ConfigError

# Layers without parameters that act on each element by itself.
ACTIVATIONS = (
    nn.Tanh,
    nn.ReLU,
    nn.SiLU,
    nn.GELU,
    nn.ELU,
    nn.LeakyReLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Identity,
)


@dataclasses.dataclass(frozen=True)
class Dense:
    """A linear layer of all members.

    Attributes:
        weight: Its parameter's name.
        bias: Its bias' name; "" without one.
    """

    weight: str
    bias: str

    def __call__(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Applies it.

        Args:
            parameters: Stacked parameters by name; the weight of shape (members, out, in), as torch
                stores it.
            inputs: Of shape (members, batch, in).

        Returns:
            Of shape (members, batch, out).
        """
        weight = parameters[self.weight].transpose(1, 2)
        if not self.bias:
            return torch.bmm(inputs, weight)
        return torch.baddbmm(parameters[self.bias].unsqueeze(1), inputs, weight)


@dataclasses.dataclass(frozen=True)
class Activation:
    """A layer that acts on each element by itself.

    Attributes:
        function: It.
    """

    function: nn.Module

    def __call__(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Applies it to inputs of any shape."""
        output: Tensor = self.function(inputs)
        return output


Steps = tuple[Dense | Activation, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a policy network computes.

    Attributes:
        actor: From the observation to what the policy head reads.
        critic: From the observation to what the value head reads; the same as `actor` if shared.
        shared: Whether actor and critic share their encoder.
        policy_head: To the action distribution's inputs; to the means where `log_std` is named.
        value_head: To the value, of width 1.
        log_std: Name of the free log standard deviations; "" where the head gives them, or none.
        log_std_limit: They are clipped to ± this; None: not clipped, or no continuous actions.
        discrete: Whether actions are discrete.
    """

    actor: Steps
    critic: Steps
    shared: bool
    policy_head: Steps
    value_head: Steps
    log_std: str
    log_std_limit: float | None
    discrete: bool


def architecture_of(module: nn.Module) -> Architecture:
    """Reads the architecture of RLlib's own PPO module.

    Raises:
        ConfigError: Members of this kind can't be stacked; the message says why.
    """
    if type(module) is not DefaultPPOTorchRLModule or module.inference_only:
        raise _refusal(
            f"a {type(module).__name__}", "RLlib's own PPO module, built for training as well"
        )
    _refuse_spaces(module.observation_space, module.action_space)
    encoder: Any = module.encoder
    if type(encoder) is not TorchActorCriticEncoder:
        raise _refusal(f"a {type(encoder).__name__}", "an actor-critic encoder of linear layers")
    shared = bool(encoder.config.shared)
    actor = _encoder_steps(module, "encoder.encoder" if shared else "encoder.actor_encoder")
    critic = actor if shared else _encoder_steps(module, "encoder.critic_encoder")
    head: Any = module.pi
    if type(head) not in (TorchMLPHead, TorchFreeLogStdMLPHead):
        raise _refusal(f"a {type(head).__name__} as policy head", "a head of linear layers")
    discrete = isinstance(module.action_space, gym.spaces.Discrete)
    # RLlib clips the second half of the outputs of whatever head is told to.
    clipped = bool(head.clip_log_std)
    return Architecture(
        actor=actor,
        critic=critic,
        shared=shared,
        policy_head=_steps(module, "pi.net.mlp"),
        value_head=_steps(module, "vf.net.mlp"),
        log_std="pi.log_std" if type(head) is TorchFreeLogStdMLPHead else "",
        log_std_limit=float(head.log_std_clip_param_const) if clipped and not discrete else None,
        discrete=discrete,
    )


def _encoder_steps(module: nn.Module, name: str) -> Steps:
    encoder = module.get_submodule(name)
    if type(encoder) is not TorchMLPEncoder:
        raise _refusal(f"a {type(encoder).__name__}", "an encoder of linear layers")
    return _steps(module, f"{name}.net.mlp")


def _steps(module: nn.Module, name: str) -> Steps:
    steps: list[Dense | Activation] = []
    for index, layer in enumerate(module.get_submodule(name).children()):
        if type(layer) is nn.Linear:
            prefix = f"{name}.{index}."
            steps.append(Dense(prefix + "weight", "" if layer.bias is None else prefix + "bias"))
        elif type(layer) in ACTIVATIONS:
            steps.append(Activation(layer))
        else:
            known = ", ".join(kind.__name__ for kind in ACTIVATIONS)
            raise _refusal(f"a {type(layer).__name__}", f"linear layers and {known}")
    return tuple(steps)


def _refuse_spaces(observations: gym.Space[Any], actions: gym.Space[Any]) -> None:
    if not isinstance(observations, gym.spaces.Box) or len(observations.shape) != 1:
        raise _refusal(f"the observation space {observations}", "a Box of one dimension")
    discrete = isinstance(actions, gym.spaces.Discrete) and int(actions.start) == 0
    continuous = (
        isinstance(actions, gym.spaces.Box)
        and len(actions.shape) == 1
        and actions.dtype in ("float32", "float64")
    )
    if not discrete and not continuous:
        raise _refusal(
            f"the action space {actions}", "a Discrete from 0 on, or a Box of floats, one dimension"
        )


def _refusal(given: str, expected: str) -> ConfigError:
    return ConfigError(
        f"members cannot be stacked: the policy has {given}; expected {expected}. Train it with the "
        "rllib engine."
    )
