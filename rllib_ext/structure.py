"""RLlib's side of structure: how an RLModule is run, shrunk and measured."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tree
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from torch import Tensor, nn

from rllib_ext.pruning.counts import count
from rllib_ext.pruning.graph import Probe
from rllib_ext.pruning.layers import understood_layers
from rllib_ext.pruning.shrink import Shrunk, shrink

# Outputs that later steps or later calls read, but no action and no value.
_INTERNAL = (Columns.EMBEDDINGS, Columns.STATE_OUT)
# Observations beyond this are drawn from a normal distribution instead: a space's bounds can be those
# of its number format, and tanh tells nothing of such values.
_LARGEST = 10.0
# Over how many steps equal outputs are shown, with the state carried over.
CHECKED_STEPS = 50


def probe_of(
    module: nn.Module, *, policy_only: bool = False, batch: int = 2, steps: int = 2
) -> Probe:
    """How to run an RLModule on example inputs drawn from its observation space.

    Args:
        module: An RLModule for torch.
        policy_only: Whether the outputs are the action's only; otherwise the value is one too.
        batch: Observations, or sequences of them for a stateful module.
        steps: Steps of a sequence.
    """
    rl_module: Any = module
    stateful = bool(rl_module.is_stateful())
    without_values = (
        policy_only or rl_module.inference_only or not isinstance(module, ValueFunctionAPI)
    )

    def inputs(target: Any, generator: torch.Generator) -> dict[str, Any]:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        like = next(target.parameters(), torch.zeros(()))
        shape = (batch, steps) if stateful else (batch,)
        found = {Columns.OBS: _observations(rl_module.observation_space, shape, seed, like)}
        if stateful:
            found[Columns.STATE_IN] = tree.map_structure(
                lambda s: torch.as_tensor(s, device=like.device).expand(batch, *s.shape).clone(),
                target.get_initial_state(),
            )
        return found

    def forward(target: Any, found: dict[str, Any]) -> dict[str, Any]:
        if without_values:
            outputs = dict(target._forward_inference(found))
        else:
            outputs = dict(target._forward_train(found))
            outputs[Columns.VF_PREDS] = target.compute_values(
                found, embeddings=outputs.get(Columns.EMBEDDINGS)
            )
        if policy_only and Columns.ACTION_DIST_INPUTS in outputs:
            return {Columns.ACTION_DIST_INPUTS: outputs[Columns.ACTION_DIST_INPUTS]}
        return {key: value for key, value in outputs.items() if key not in _INTERNAL}

    observations = batch * steps if stateful else batch
    return Probe(inputs=inputs, forward=forward, observations=observations)


def critic_names(module: nn.Module) -> list[str]:
    """Names of the parts of an RLModule that only the critic uses."""
    if isinstance(module, InferenceOnlyAPI):
        return list(module.get_non_inference_attributes())
    return []


def shrink_policy(module: nn.Module, masks: Mapping[str, Tensor]) -> Shrunk:
    """The smaller RLModule with equal actions, for deployment: without its value function.

    Args:
        module: An RLModule for torch; left as it is.
        masks: Masks by parameter name, True = keep.

    Raises:
        ShrinkError: No smaller module gives equal outputs.
    """
    return shrink(
        _without_value_head(module),
        masks,
        probe_of(module, policy_only=True),
        check=probe_of(module, policy_only=True, steps=CHECKED_STEPS),
        adapt=_adapt_initial_state,
    )


def policy_size(module: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, int]:
    """The size of the deployed policy, for `front.csv`.

    Args:
        module: An RLModule for torch; left as it is.
        masks: Masks by parameter name, True = keep.

    Returns:
        "shrunk_params": parameters of the shrunk policy path, biases included; "macs": its
        multiply-accumulates for one observation; "dense_params" and "dense_macs": the same before;
        "removed_units": neurons, channels and recurrent units that went.

    Raises:
        ShrinkError: No smaller module gives equal outputs.
    """
    shrunk = shrink_policy(module, masks)
    critic = critic_names(module)
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
            if name in shrunk.kept and not name.startswith(tuple(f"{c}." for c in critic))
        ),
    }


def dense_policy_size(module: nn.Module) -> dict[str, int]:
    """As `policy_size`, of a policy that nothing can be removed from.

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
    """Makes RLlib's recurrent encoders give an initial state of their layer's new size."""
    for child in module.modules():
        layer = getattr(child, "lstm", getattr(child, "gru", None))
        config: Any = getattr(child, "config", None)
        if isinstance(layer, nn.RNNBase) and hasattr(config, "hidden_dim"):
            # Actor and critic share one config object, but not one size.
            config = copy.copy(config)
            config.hidden_dim = layer.hidden_size
            child.config = config


def _without_value_head(module: nn.Module) -> nn.Module:
    """A copy without the top-level parts that inference never uses."""
    policy = copy.deepcopy(module)
    for name in critic_names(module):
        if "." not in name and hasattr(policy, name):
            delattr(policy, name)
    return policy


def _observations(space: gym.Space, shape: tuple[int, ...], seed: int, like: Tensor) -> Any:
    """Observations of a space, stacked to the given shape; real numbers in the weights' format."""
    space = copy.deepcopy(space)
    space.seed(seed)
    rng = np.random.default_rng(seed)

    def stacked(*values: Any) -> Tensor:
        array = np.stack([np.asarray(value) for value in values])
        if np.issubdtype(array.dtype, np.floating):
            drawn = rng.standard_normal(array.shape)
            array = np.where(np.abs(array) > _LARGEST, drawn, array).astype(np.float32)
        found = torch.from_numpy(array.reshape(*shape, *array.shape[1:])).to(like.device)
        return found.to(like.dtype) if found.is_floating_point() else found

    samples = [space.sample() for _ in range(int(np.prod(shape)))]
    return tree.map_structure(stacked, *samples)
