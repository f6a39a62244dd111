"""Finds the parts of an RLModule that only its critic uses, from what the module computes.

RLlib asks a module for its critic's names only where it builds modules without one (`InferenceOnlyAPI`),
and its own examples don't name them. A part is therefore taken to be the critic's if it affects the
value but no action. It affects the value if backpropagation from the value reaches it (torch records
that). It affects an action if backpropagation from the action's distribution reaches it, or if an action
changes when the part is changed, as behind a `detach` or an argmax.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.base import ActorCriticEncoder
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from torch import Tensor, nn

from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.scope import lies_in
from rllib_ext.pruning.structure.copies import copy_of
from rllib_ext.pruning.structure.probe import flatten
from rllib_ext.pruning.structure.runs import copied, evaluating, fixed_draws, leaves_behind
from rllib_ext.rl.module.probing import example_batch, prepared, trained_outputs

logger = logging.getLogger(__name__)

# Outputs that become an action.
_ACTIONS = (Columns.ACTION_DIST_INPUTS, Columns.ACTIONS, Columns.ACTIONS_FOR_ENV)
# Outputs that don't; if a module returns none of those above, all others count as actions.
_NO_ACTIONS = (Columns.VF_PREDS, Columns.EMBEDDINGS, Columns.STATE_OUT)
# Two calls: what only a later step reads, such as a state, affects an action by the second one.
_CALLS = 2
# Number of times that parameters are changed to see if actions change: one change can miss an argmax.
_CHANGES = 3
# Relative and absolute tolerance within which a change of an output is rounding.
_ROUNDING = {"rtol": 1e-4, "atol": 1e-6}


def critic_names(module: nn.Module) -> list[str]:
    """Returns the names of the parts of an RLModule that only its critic uses.

    A part that affects both the value and an action belongs to the policy. One that affects neither
    belongs to the critic if the module's `get_non_inference_attributes` names it, otherwise to the
    policy.

    Args:
        module: An RLModule for torch; left unchanged.

    Returns:
        Names of submodules all of whose parameters are the critic's, and of its remaining parameters.

    Raises:
        ConfigError: The module computes values, but neither runs on example inputs nor names its critic.
    """
    declared: list[str] = []
    if isinstance(module, InferenceOnlyAPI):
        declared = list(module.get_non_inference_attributes())
    own = {name for name, _ in module.named_parameters() if lies_in(name, declared)}
    rl_module: Any = module
    if isinstance(module, ValueFunctionAPI) and not (declared and rl_module.inference_only):
        try:
            own = _critic_parameters(module, own)
        except Exception as error:
            # A module may be a user's code. One that was built for inference may have no critic at all.
            if not (declared or rl_module.inference_only):
                raise ConfigError(
                    f"{type(module).__name__} does not run on example inputs drawn from its "
                    f"observation space ({type(error).__name__}: {error}), so that its critic can't be "
                    "told from its policy. Name the critic's parts: derive the RLModule from RLlib's "
                    "InferenceOnlyAPI too and return them from get_non_inference_attributes()."
                ) from error
            level = logging.DEBUG if rl_module.inference_only else logging.WARNING
            logger.log(
                level,
                "%s does not run on example inputs (%s: %s); its critic is what "
                "get_non_inference_attributes() names.",
                type(module).__name__,
                type(error).__name__,
                error,
            )
    return list(_whole_parts(module, own))


def without_critic(module: nn.Module, critic: Iterable[str]) -> nn.Module:
    """Returns a copy of an RLModule for inference, without the parts of its critic that can be removed.

    Args:
        module: An RLModule for torch; left unchanged.
        critic: Names of its critic's parts.
    """
    policy = copy_of(module)
    parts = [part for part in critic if _has(policy, part)]
    with evaluating(policy), torch.no_grad():
        batch = example_batch(policy, torch.Generator().manual_seed(0))
        expected = _all_actions(policy, batch)
        _take_out(policy, parts, batch, expected)
    return policy


def _take_out(
    policy: nn.Module, parts: list[str], batch: dict[str, Any], expected: list[Tensor]
) -> None:
    """Removes parts in place: all of them or, if that fails, each one that can be removed alone."""
    saved = [_cut(policy, part) for part in parts]
    try:
        found = _all_actions(policy, batch)
    except (AttributeError, KeyError, TypeError, NameError):
        # A remaining part uses them.
        found = []
    if len(found) == len(expected) and all(map(_alike, found, expected)):
        return
    for restore in reversed(saved):
        restore()
    if len(parts) > 1:
        for part in parts:
            _take_out(policy, [part], batch, expected)


def _has(module: nn.Module, part: str) -> bool:
    found: Any = module
    for name in part.split("."):
        found = getattr(found, name, None)
    return found is not None


def _cut(policy: nn.Module, part: str) -> Callable[[], None]:
    """Removes one part, and returns a function that puts it back."""
    path, _, name = part.rpartition(".")
    owner: Any = policy.get_submodule(path)
    config: Any = getattr(owner, "config", None)
    before = dict(owner._modules), dict(owner._parameters)
    if isinstance(owner, ActorCriticEncoder):
        # RLlib's actor-critic encoder runs its critic encoder unless it was built for inference.
        setattr(owner, name, None)
        owner.config = dataclasses.replace(config, inference_only=True)
    else:
        delattr(owner, name)

    def restore() -> None:
        owner._modules, owner._parameters = before
        if isinstance(owner, ActorCriticEncoder):
            owner.config = config

    return restore


def _critic_parameters(module: nn.Module, declared: set[str]) -> set[str]:
    """Returns the names of the parameters that only the critic uses."""
    twin = copy_of(module)
    parameters = dict(twin.named_parameters())
    for parameter in parameters.values():
        parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())
    with evaluating(twin), fixed_draws():
        batch = example_batch(twin, torch.Generator().manual_seed(0))
        with torch.enable_grad():
            outputs = list(_calls(twin, batch, train=True))
        from_values = leaves_behind(
            [o for found in outputs for o in flatten(found[Columns.VF_PREDS]).values()]
        )
        from_actions = leaves_behind([o for found in outputs for o in _actions(found).values()])
        candidates = {
            name: parameter
            for name, parameter in parameters.items()
            if (id(parameter) in from_values or name in declared)
            and id(parameter) not in from_actions
        }
        return set(candidates) - set(_changing_actions(twin, candidates, batch))


def _calls(module: nn.Module, batch: dict[str, Any], *, train: bool) -> Iterator[dict[str, Any]]:
    """Yields the outputs of successive calls, each from the state that the previous one left."""
    rl_module: Any = module
    for _ in range(_CALLS):
        given = copied(batch)
        outputs = (
            trained_outputs(module, prepared(module, given))
            if train
            else dict(rl_module._forward_inference(given))
        )
        yield outputs
        if Columns.STATE_OUT not in outputs or Columns.STATE_IN not in batch:
            return
        batch = {**batch, Columns.STATE_IN: outputs[Columns.STATE_OUT]}


def _actions(outputs: Mapping[str, Any]) -> dict[str, Tensor]:
    named = {key: outputs[key] for key in _ACTIONS if key in outputs}
    return flatten(named or {k: v for k, v in outputs.items() if k not in _NO_ACTIONS})


@torch.no_grad()
def _changing_actions(
    module: nn.Module, candidates: Mapping[str, nn.Parameter], batch: dict[str, Any]
) -> list[str]:
    """Returns the names of candidates that change an action when changed; their values are restored."""
    expected = _all_actions(module, batch)
    generator = torch.Generator().manual_seed(0)

    def change(names: Iterable[str]) -> bool:
        for _ in range(_CHANGES):
            saved = {name: candidates[name].clone() for name in names}
            for name in names:
                parameter = candidates[name]
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
                parameter.add_(noise.to(parameter.device, parameter.dtype))
            found = _all_actions(module, batch)
            for name, values in saved.items():
                candidates[name].copy_(values)
            if not all(_alike(a, b) for a, b in zip(found, expected, strict=True)):
                return True
        return False

    names = list(candidates)
    return [name for name in names if change([name])] if names and change(names) else []


def _all_actions(module: nn.Module, batch: dict[str, Any]) -> list[Tensor]:
    with fixed_draws():
        return [
            action
            for outputs in _calls(module, batch, train=False)
            for action in _actions(outputs).values()
        ]


def _alike(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return torch.allclose(one.double(), other.double(), **_ROUNDING, equal_nan=True)


def _whole_parts(module: nn.Module, parameters: set[str]) -> Iterator[str]:
    """Yields the names of the largest submodules with these parameters only, and of those left over."""
    inside: list[str] = []
    for part, child in module.named_modules():
        if lies_in(part, inside):
            continue
        held = [f"{part}.{name}" if part else name for name, _ in child.named_parameters()]
        if part and held and parameters.issuperset(held):
            inside.append(part)
            yield part
        else:
            for name, _ in child.named_parameters(recurse=False):
                full = f"{part}.{name}" if part else name
                if full in parameters:
                    yield full
