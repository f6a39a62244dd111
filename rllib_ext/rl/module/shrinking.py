"""Shrinks RLModules and measures their size, by means of `rllib_ext.pruning.structure`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from rllib_ext.pruning.scope import lies_in
from rllib_ext.pruning.structure.counts import count
from rllib_ext.pruning.structure.layers import understood_layers
from rllib_ext.pruning.structure.shrink import Shrunk, shrink
from rllib_ext.rl.module.critic import critic_names, without_critic
from rllib_ext.rl.module.probing import probe_of

# Number of steps over which outputs are compared, with the state carried over.
CHECKED_STEPS = 50


def shrink_policy(module: nn.Module, masks: Mapping[str, Tensor]) -> Shrunk:
    """Returns a smaller RLModule with equal actions, for deployment and without its critic.

    A critic that the module can't run without, such as one with a state, is kept as small as possible.

    Args:
        module: An RLModule for torch; left unchanged.
        masks: Masks by parameter name, True = keep.

    Raises:
        ShrinkError: No smaller module gives equal outputs.
    """
    return _shrink_policy(module, masks, critic_names(module))


def _shrink_policy(module: nn.Module, masks: Mapping[str, Tensor], critic: Sequence[str]) -> Shrunk:
    return shrink(
        without_critic(module, critic),
        masks,
        probe_of(module, policy_only=True, unread=critic),
        check=probe_of(module, policy_only=True, unread=critic, steps=CHECKED_STEPS),
        adapt=_adapt_initial_state,
    )


def policy_size(module: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, int]:
    """Returns the size of the deployed policy, for `front.csv`.

    Args:
        module: An RLModule for torch; left unchanged.
        masks: Masks by parameter name, True = keep.

    Returns:
        "shrunk_params": parameters of the shrunk policy path, biases included; "macs": its
        multiply-accumulates for one observation; "dense_params" and "dense_macs": the same before
        shrinking; "removed_units": number of neurons, channels and recurrent units removed.

    Raises:
        ShrinkError: No smaller module gives equal outputs.
    """
    critic = critic_names(module)
    shrunk = _shrink_policy(module, masks, critic)
    probe = probe_of(module, policy_only=True, batch=1, steps=1)
    after, before = (count(m, probe, without=critic) for m in (shrunk.module, module))
    return {
        "shrunk_params": after.parameters,
        "macs": after.macs,
        "dense_params": before.parameters,
        "dense_macs": before.macs,
        "removed_units": sum(
            layer.width - len(shrunk.kept[name])
            for name, layer in understood_layers(module).items()
            if name in shrunk.kept and not lies_in(name, critic)
        ),
    }


def dense_policy_size(module: nn.Module) -> dict[str, int]:
    """Returns the entries of `policy_size` for a policy from which nothing can be removed.

    Args:
        module: An RLModule for torch.
    """
    probe = probe_of(module, policy_only=True, batch=1, steps=1)
    whole = count(module, probe, without=critic_names(module))
    return {
        "shrunk_params": whole.parameters,
        "macs": whole.macs,
        "dense_params": whole.parameters,
        "dense_macs": whole.macs,
        "removed_units": 0,
    }


def _adapt_initial_state(module: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Makes RLlib's recurrent encoders return an initial state of their layer's new size."""
    for child in module.modules():
        layer = getattr(child, "lstm", getattr(child, "gru", None))
        config: Any = getattr(child, "config", None)
        if isinstance(layer, nn.RNNBase) and hasattr(config, "hidden_dim"):
            # Actor and critic share one config object, but may now differ in size.
            config = copy.copy(config)
            config.hidden_dim = layer.hidden_size
            child.config = config
