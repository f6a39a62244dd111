"""Finds modules that compute the same under `torch.func.vmap` as alone; says why others don't."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.columns import Columns
from torch import Tensor, nn

from rllib_ext.packed.architecture import refuse_actions, refuse_distributions
from rllib_ext.packed.computation import refusal
from rllib_ext.packed.observations import raveled_batch, refuse_observations
from rllib_ext.packed.vmapped import Calls, Vmapped, together
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.structure.copies import copy_of
from rllib_ext.pruning.structure.runs import fixed_draws
from rllib_ext.rl.module.probing import example_batch, has_values, prepared, trained_outputs

# Observations of each member that are tried.
_BATCH = 3
# Relative, and absolute in units of the largest value: another order of the same sums.
_ROUNDING = 1e-3
_FEED_FORWARD = "a feed-forward policy"
# By what torch says under vmap, what the module does.
_TOLD = (
    ("data-dependent control flow", "goes where its own values say (`if`, `while` over a tensor)"),
    (".item()", "takes single values out of tensors (`.item()`, `float(…)`)"),
    ("random", "draws random numbers, as dropout does"),
    ("running_mean", "keeps running statistics, as batch norms do"),
)
_CALLS = ("explore", "infer", "value", "train_on")


def vmapped_of(modules: Sequence[nn.Module]) -> Vmapped:
    """Returns the stacked computation of a user's modules.

    Args:
        modules: PPO modules of one architecture and any weights, one or more; left as they are.

    Raises:
        ConfigError: They can't be; the message says why.
    """
    first: Any = modules[0]
    name = f"a {type(first).__name__}"
    _refuse_what_is_seen(first, name)
    discrete = isinstance(first.action_space, gym.spaces.Discrete)
    copies = [copy_of(module) for module in modules[:2]]
    _refuse_own_buffers(copies, name)
    try:
        with fixed_draws():
            primed = _wants_priming(copies[0], name)
            _refuse_other_results([Calls(copy, primed=primed) for copy in copies], name)
    except ConfigError:
        raise
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError, AssertionError) as error:
        # A module is anybody's code.
        raise refusal(
            f"{name} that {_what_it_does(error)}", "one that torch.func.vmap runs"
        ) from error
    return Vmapped(first, primed=primed, discrete=discrete)


def _refuse_what_is_seen(module: Any, name: str) -> None:
    """Refuses what needs no run to be known."""
    if module.inference_only or not has_values(module):
        raise refusal(f"{name} without a value function", "one that is built for training as well")
    recurrent = [type(m).__name__ for m in module.modules() if isinstance(m, nn.RNNBase)]
    if module.is_stateful() or recurrent:
        through = f", through its {', '.join(dict.fromkeys(recurrent))}" if recurrent else ""
        told = f"a memory ({name} carries a state from step to step{through})"
        raise refusal(told, _FEED_FORWARD)
    refuse_actions(module.action_space)
    refuse_distributions(module)
    refuse_observations(module.observation_space)
    for path, layer in module.named_modules():
        if getattr(layer, "track_running_stats", False):
            raise refusal(
                f"a {type(layer).__name__} ({path}), whose running statistics are no weights",
                "layers that compute from weights and inputs alone, such as LayerNorm",
            )


def _refuse_own_buffers(modules: Sequence[nn.Module], name: str) -> None:
    """Refuses modules that differ in more than parameters: nothing else of a member is its own."""
    first, *others = (dict(m.named_buffers()) for m in modules)
    for other in others:
        for buffer, value in first.items():
            if not torch.equal(value, other[buffer]):
                raise refusal(
                    f"{name} whose buffer {buffer} is drawn anew for each member",
                    "buffers that are the same in all members, or parameters",
                )


def _wants_priming(module: Any, name: str) -> bool:
    """Whether training calls match RLlib's only if `compute_values` is called first."""
    batch = example_batch(module, torch.Generator().manual_seed(0), batch=_BATCH)
    seen = raveled_batch(module.observation_space, batch[Columns.OBS])
    outputs = trained_outputs(module, prepared(module, batch))
    _refuse_outputs(outputs, name)
    expected = (outputs[Columns.ACTION_DIST_INPUTS], outputs[Columns.VF_PREDS])
    try:
        return not _alike(Calls(module)("train_on", seen), expected)
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError, AssertionError):
        return True


def _refuse_outputs(outputs: Any, name: str) -> None:
    if Columns.ACTIONS in outputs:
        raise refusal(
            f"{name} that chooses actions itself", "one that gives a distribution's inputs"
        )
    if Columns.STATE_OUT in outputs:
        raise refusal(f"a memory ({name} gives a state to its next step)", _FEED_FORWARD)


def _refuse_other_results(calls: Sequence[Calls], name: str) -> None:
    """Runs modules together and each alone."""
    before = [{n: v.clone() for n, v in call.state_dict().items()} for call in calls]
    rows = [dict(call.rl_module.named_parameters()) for call in calls]
    stacked = {n: torch.stack([row[n].detach() for row in rows]) for n in rows[0]}
    generator = torch.Generator().manual_seed(1)
    seen = torch.stack([_drawn(call, generator) for call in calls])
    for call in _CALLS:
        for each in calls:
            each.train(call in ("value", "train_on"))
        expected = [each(call, seen[i]) for i, each in enumerate(calls)]
        for _ in range(2):
            found = together(calls[0], call)(stacked, seen)
            if not all(_alike(_row(found, i), alone) for i, alone in enumerate(expected)):
                raise refusal(
                    f"{name} that computes something else under torch.func.vmap, or each time",
                    "one whose outputs depend on nothing but parameters and observations",
                )
    for each, values in zip(calls, before, strict=True):
        if not all(torch.equal(v, values[n]) for n, v in each.state_dict().items()):
            raise refusal(
                f"{name} that changes its own buffers or parameters while it runs",
                "one that only training changes",
            )


def _drawn(calls: Calls, generator: torch.Generator) -> Tensor:
    batch = example_batch(calls.rl_module, generator, batch=_BATCH)
    return raveled_batch(calls.rl_module.observation_space, batch[Columns.OBS])


def _row(found: Any, row: int) -> Any:
    return tuple(part[row] for part in found) if isinstance(found, tuple) else found[row]


def _alike(found: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):
        return all(_alike(a, b) for a, b in zip(found, expected, strict=True))
    if found.shape != expected.shape:
        return False
    scale = float(expected.detach().abs().max().clamp(min=1e-3))
    return torch.allclose(found, expected, rtol=_ROUNDING, atol=_ROUNDING * scale)


def _what_it_does(error: Exception) -> str:
    said = str(error)
    known = [does for words, does in _TOLD if words in said]
    line = said.strip().partition("\n")[0]
    return (
        known[0]
        if known
        else f"does not run under torch.func.vmap ({type(error).__name__}: {line})"
    )
