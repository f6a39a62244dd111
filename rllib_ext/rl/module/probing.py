"""Runs RLModules on example inputs, as RLlib runs them."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tree
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from torch import Tensor, nn

from rllib_ext.pruning.structure.graph import Probe

# Outputs that later steps or later calls read, but that are neither actions nor values.
_INTERNAL = (Columns.EMBEDDINGS, Columns.STATE_OUT)
# Observations of larger magnitude are drawn from a normal distribution instead: a space's bounds can be
# those of its number format, and tanh saturates at such values.
_LARGEST = 10.0


def probe_of(
    module: nn.Module,
    *,
    policy_only: bool = False,
    unread: Iterable[str] = (),
    batch: int = 2,
    steps: int = 2,
) -> Probe:
    """Returns a probe that runs an RLModule on example inputs drawn from its observation space.

    Args:
        module: An RLModule for torch.
        policy_only: Whether only the action's outputs count; otherwise the value is an output too.
        unread: Names of parts that don't affect these outputs, such as a critic that is run along.
        batch: Number of observations, or of sequences of them for a stateful module.
        steps: Number of steps of a sequence.
    """
    rl_module: Any = module
    with_values = not policy_only and has_values(module)

    def inputs(target: Any, generator: torch.Generator) -> dict[str, Any]:
        found = example_batch(target, generator, batch=batch, steps=steps)
        return prepared(target, found) if with_values else found

    def forward(target: Any, found: dict[str, Any]) -> dict[str, Any]:
        outputs = (
            trained_outputs(target, found) if with_values else target._forward_inference(found)
        )
        if policy_only and Columns.ACTION_DIST_INPUTS in outputs:
            return {Columns.ACTION_DIST_INPUTS: outputs[Columns.ACTION_DIST_INPUTS]}
        return {key: value for key, value in outputs.items() if key not in _INTERNAL}

    observations = batch * steps if rl_module.is_stateful() else batch
    return Probe(inputs=inputs, forward=forward, observations=observations, unread=tuple(unread))


def has_values(module: nn.Module) -> bool:
    """Whether an RLModule computes values: it is able to, and it wasn't built for inference only."""
    rl_module: Any = module
    return isinstance(module, ValueFunctionAPI) and not rl_module.inference_only


def example_batch(
    module: nn.Module, generator: torch.Generator, *, batch: int = 2, steps: int = 2
) -> dict[str, Any]:
    """Returns observations drawn from an RLModule's space and, if it is stateful, its initial state.

    Args:
        module: An RLModule for torch.
        generator: Random generator for the draws.
        batch: Number of observations, or of sequences of them for a stateful module.
        steps: Number of steps of a sequence.
    """
    rl_module: Any = module
    seed = int(torch.randint(2**31, (1,), generator=generator))
    like = next(module.parameters(), torch.zeros(()))
    stateful = bool(rl_module.is_stateful())
    shape = (batch, steps) if stateful else (batch,)
    found = {Columns.OBS: _drawn(rl_module.observation_space, shape, seed, like)}
    if stateful:
        found[Columns.STATE_IN] = tree.map_structure(
            lambda s: torch.as_tensor(s, device=like.device).expand(batch, *s.shape).clone(),
            rl_module.get_initial_state(),
        )
    return found


@torch.no_grad()
def prepared(module: nn.Module, batch: dict[str, Any]) -> dict[str, Any]:
    """Prepares a batch in place as for training: adds actions, and runs `compute_values` on it.

    RLlib's learner connector computes the values first, from the same batch that `_forward_train` is
    given later, and modules store in it what they need there (RLlib's own action masking does).
    """
    rl_module: Any = module
    observed: Tensor = tree.flatten(batch[Columns.OBS])[0]
    shape = tuple(observed.shape[: 2 if rl_module.is_stateful() else 1])
    like = next(module.parameters(), torch.zeros(()))
    batch[Columns.ACTIONS] = _drawn(rl_module.action_space, shape, 0, like)
    rl_module.compute_values(batch)
    return batch


def trained_outputs(module: nn.Module, batch: dict[str, Any]) -> dict[str, Any]:
    """Returns what PPO's loss reads: `_forward_train`'s outputs, with the values under "vf_preds"."""
    rl_module: Any = module
    outputs = dict(rl_module._forward_train(batch))
    outputs[Columns.VF_PREDS] = rl_module.compute_values(
        batch, embeddings=outputs.get(Columns.EMBEDDINGS)
    )
    return outputs


def _drawn(space: gym.Space, shape: tuple[int, ...], seed: int, like: Tensor) -> Any:
    """Draws elements of a space, stacked to the given shape; real numbers get the weights' format."""
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
