"""The architecture of a policy network, read from an RLlib module of known layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import gymnasium as gym
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical, TorchDiagGaussian
from ray.rllib.core.models.torch.encoder import (
    TorchActorCriticEncoder,
    TorchCNNEncoder,
    TorchMLPEncoder,
)
from ray.rllib.core.models.torch.heads import TorchFreeLogStdMLPHead, TorchMLPHead
from torch import nn

from rllib_ext.packed.computation import refusal
from rllib_ext.packed.convolution import Convolution
from rllib_ext.packed.layers import Activation, Dense, Layer, Layers, Reshape
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.playable import expects_floats

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """The layers of a policy network, in the order in which they are computed.

    Attributes:
        actor: From the observation to what the policy head reads.
        critic: From the observation to what the value head reads; the same as `actor` if shared, or
            where the module only acts.
        shared: Whether actor and critic share their encoder.
        policy_head: To the action distribution's inputs; to the means where `log_std` is named.
        value_head: To the value, of width 1; nothing where the module only acts.
        log_std: Name of the free log standard deviations; "" where the head gives them, or none.
        log_std_limit: Logarithms of standard deviations are clipped to ± this; None: not clipped,
            or no continuous actions.
        discrete: Whether actions are discrete.
    """

    actor: Layers
    critic: Layers
    shared: bool
    policy_head: Layers
    value_head: Layers
    log_std: str
    log_std_limit: float | None
    discrete: bool


def architecture_of(module: nn.Module, *, acting: bool = False) -> Architecture:
    """Reads the architecture of RLlib's own PPO module.

    Args:
        module: The module.
        acting: Whether it only acts: it may lack its critic, which is left out.

    Raises:
        ConfigError: Members of this kind can't be stacked – other layers, memory, other action
            distributions; the message says why.
    """
    if type(module) is not DefaultPPOTorchRLModule or (module.inference_only and not acting):
        raise refusal(
            f"a {type(module).__name__}", "RLlib's own PPO module, built for training as well"
        )
    refuse_spaces(module.observation_space, module.action_space)
    refuse_distributions(module)
    encoder: Any = module.encoder
    if type(encoder) is not TorchActorCriticEncoder:
        raise refusal(f"a {type(encoder).__name__}", "an actor-critic encoder without memory")
    shared = bool(encoder.config.shared)
    actor = _encoder_layers(module, "encoder.encoder" if shared else "encoder.actor_encoder")
    critic: Layers = (
        actor if shared or acting else _encoder_layers(module, "encoder.critic_encoder")
    )
    head: Any = module.pi
    if type(head) not in (TorchMLPHead, TorchFreeLogStdMLPHead):
        raise refusal(f"a {type(head).__name__} as policy head", "a head of linear layers")
    discrete = isinstance(module.action_space, gym.spaces.Discrete)
    # RLlib clips the second half of the outputs of whatever head is told to.
    clipped = bool(head.clip_log_std)
    return Architecture(
        actor=actor,
        critic=critic,
        shared=shared,
        policy_head=_layers(module, "pi.net.mlp"),
        value_head=() if acting else _layers(module, "vf.net.mlp"),
        log_std="pi.log_std" if type(head) is TorchFreeLogStdMLPHead else "",
        log_std_limit=float(head.log_std_clip_param_const) if clipped and not discrete else None,
        discrete=discrete,
    )


def refuse_distributions(module: Any) -> None:
    """Refuses what a module of one's own gives instead of what rllib_ext.packed.distributions has.

    Args:
        module: An RLModule.

    Raises:
        ConfigError: It has another action distribution, for training or for acting.
    """
    discrete = isinstance(module.action_space, gym.spaces.Discrete)
    expected: type[Any] = TorchCategorical if discrete else TorchDiagGaussian
    for purpose in ("train", "exploration", "inference"):
        found = getattr(module, f"get_{purpose}_action_dist_cls")()
        if found is not expected:
            name = getattr(found, "__name__", found)
            raise refusal(f"the action distribution {name}", expected.__name__)


def _encoder_layers(module: nn.Module, name: str) -> Layers:
    encoder = module.get_submodule(name)
    if type(encoder) is TorchMLPEncoder:
        return _layers(module, f"{name}.net.mlp")
    config: Any = encoder.config
    if type(encoder) is not TorchCNNEncoder or not config.flatten_at_end:
        raise refusal(f"a {type(encoder).__name__}", "an encoder of linear or convolutional layers")
    image = tuple(int(size) for size in config.input_dims)
    found = _layers(module, f"{name}.net.0.cnn", first=Reshape(image))
    return (*found, Reshape((int(config.output_dims[0]),)))


def _layers(module: nn.Module, name: str, first: Reshape | None = None) -> Layers:
    """The layers of a sequence, by their parameters' names in the module."""
    layers: list[Layer] = [] if first is None else [first]
    padding = (0, 0, 0, 0)
    for index, layer in enumerate(module.get_submodule(name).children()):
        prefix = f"{name}.{index}."
        weight, bias = prefix + "weight", ""
        if getattr(layer, "bias", None) is not None:
            bias = prefix + "bias"
        if type(layer) is nn.Linear:
            layers.append(Dense(weight, bias))
        elif type(layer) is nn.ZeroPad2d:
            padding = layer.padding
        elif type(layer) is nn.Conv2d:
            layers.append(
                Convolution(
                    weight=weight,
                    bias=bias,
                    padding=padding,
                    kernel=_pair(layer.kernel_size),
                    stride=_pair(layer.stride),
                    first=not any(isinstance(x, Convolution) for x in layers),
                )
            )
            padding = (0, 0, 0, 0)
        elif type(layer) is nn.Tanh and layers and isinstance(layers[-1], Dense):
            layers[-1] = dataclasses.replace(layers[-1], tanh=True)
        elif type(layer) in ACTIVATIONS:
            layers.append(Activation(layer))
        else:
            known = ", ".join(kind.__name__ for kind in ACTIVATIONS)
            raise refusal(
                f"a {type(layer).__name__}", f"linear layers, convolutions of images and {known}"
            )
    return tuple(layers)


def _pair(sizes: Iterable[int]) -> tuple[int, int]:
    first, second = sizes
    return int(first), int(second)


def refuse_spaces(observations: gym.Space[Any], actions: gym.Space[Any]) -> None:
    """Refuses spaces of which members can't be stacked.

    Raises:
        ConfigError: The message says why.
    """
    box = isinstance(observations, gym.spaces.Box) and len(observations.shape) in (1, 3)
    # On others RLlib's own layers fail, so that it couldn't use the policies.
    if not box or observations.dtype not in ("float32", "float64"):
        given = f"the observation space {observations}"
        raise ConfigError(f"members cannot be stacked: {expects_floats(given)}")
    refuse_actions(actions)


def refuse_actions(actions: gym.Space[Any]) -> None:
    """Refuses action spaces of which members can't be stacked.

    Raises:
        ConfigError: The message says why.
    """
    discrete = isinstance(actions, gym.spaces.Discrete) and int(actions.start) == 0
    continuous = (
        isinstance(actions, gym.spaces.Box)
        and len(actions.shape) == 1
        and actions.dtype in ("float32", "float64")
    )
    if not discrete and not continuous:
        raise refusal(
            f"the action space {actions}", "a Discrete from 0 on, or a Box of floats, one dimension"
        )
