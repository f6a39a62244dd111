"""Compares two RLModules as networks: parameters, outputs computed with them, and settings."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from torch import Tensor, nn

from rllib_ext.pruning.structure.probe import flatten
from rllib_ext.pruning.structure.runs import copied, evaluating, fixed_draws
from rllib_ext.rl.module.probing import example_batch, has_values, prepared, trained_outputs

# Number of differences that a message shows.
_SHOWN = 3
_COMPARED = {
    Columns.ACTION_DIST_INPUTS: "actions",
    Columns.ACTIONS: "actions",
    Columns.VF_PREDS: "values",
    Columns.STATE_OUT: "states",
}


def difference(theirs: nn.Module, own: nn.Module) -> str:
    """Describes how another network differs from one's own, as a clause; empty if it doesn't.

    Names and shapes of parameters are compared, then the outputs of both with the same weights on
    example inputs. Networks that don't run on example inputs count as the same if they are of one class
    with equal model configurations.

    Args:
        theirs: An RLModule for torch with the weights in question; left unchanged.
        own: The RLModule that is to take over the weights; left unchanged.
    """
    shapes = [{n: tuple(v.shape) for n, v in m.state_dict().items()} for m in (theirs, own)]
    if shapes[0] != shapes[1]:
        return _told(*shapes)
    taught = copy.deepcopy(own)
    taught.load_state_dict(theirs.state_dict())
    settings = _told(_settings(theirs), _settings(own))
    batch = example_batch(own, torch.Generator().manual_seed(0), batch=16, steps=4)
    outputs = [_outputs(module, batch) for module in (theirs, taught)]
    if outputs[0] is None or outputs[1] is None:
        return settings
    unlike = _unlike(outputs[0], outputs[1])
    if not unlike:
        return ""
    return f"with the same weights it gives other {unlike}" + (f": {settings}" if settings else "")


def _outputs(module: nn.Module, batch: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the outputs of a module, or None if it doesn't run."""
    rl_module: Any = module
    given = copied(batch)
    try:
        with evaluating(module), fixed_draws(), torch.no_grad():
            if has_values(module):
                return trained_outputs(module, prepared(module, given))
            return dict(rl_module._forward_inference(given))
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return None


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Names the kinds of outputs that differ; empty if none does."""
    found = [
        word
        for key, word in _COMPARED.items()
        if key in one or key in other
        if not _close(flatten(one.get(key)), flatten(other.get(key)))
    ]
    return " and ".join(dict.fromkeys(found))


def _close(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[key].shape == other[key].shape
        and torch.allclose(one[key].double(), other[key].double(), 1e-4, 1e-6, equal_nan=True)
        for key in one
    )


def _settings(module: nn.Module) -> dict[str, Any]:
    """Returns a module's class and model configuration, with RLlib's defaults where known."""
    rl_module: Any = module
    config = getattr(getattr(rl_module, "catalog", None), "_model_config_dict", None)
    config = rl_module.model_config if config is None else config
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = dataclasses.asdict(config)
    return {"class": type(module).__qualname__, **(config or {})}


def _told(theirs: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    names = [*theirs, *(name for name in own if name not in theirs)]
    missing = object()
    unlike = [n for n in names if theirs.get(n, missing) != own.get(n, missing)]
    told = [
        f"{name} is {theirs.get(name, 'missing')} there and {own.get(name, 'missing')} here"
        for name in unlike[:_SHOWN]
    ]
    return "; ".join(told) + ("; …" if len(unlike) > _SHOWN else "")
