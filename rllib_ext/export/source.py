"""Turns a policy's parts, shrunk, into the program that is exported."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_ext.export.builder import Builder
from rllib_ext.export.errors import ExportError
from rllib_ext.export.head import act
from rllib_ext.export.operations import Conv, Dense, Gru, Lstm, arrays_of
from rllib_ext.export.preprocess import observe
from rllib_ext.export.program import Program
from rllib_ext.export.trace import trace_module
from rllib_ext.policy.store import PolicyParts
from rllib_ext.policy.tree_module import TreeModule
from rllib_ext.pruning.errors import ShrinkError
from rllib_ext.pruning.masks import apply_masks_
from rllib_ext.rl.module.critic import critic_names, without_critic
from rllib_ext.rl.module.shrinking import shrink_policy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A policy and what is exported of it.

    Attributes:
        parts: The policy's parts, as RLlib has them.
        module: The RLModule that was traced: without its critic, and shrunk where that can be.
        program: All of a decision.
        dense: The same before anything was removed, with masks not applied.
        unshrunk: Why nothing was removed; "" where it was.
    """

    parts: PolicyParts
    module: torch.nn.Module
    program: Program
    dense: Program
    unshrunk: str


def source_of(
    parts: PolicyParts, masks: Mapping[str, Tensor], *, stochastic: bool = False
) -> Source:
    """Shrinks a policy and writes it as a program.

    Args:
        parts: The parts of a saved policy or a checkpoint; left as they are.
        masks: By parameter name, True = keep; empty where nothing was pruned.
        stochastic: Whether actions are drawn, from noise that is given.

    Raises:
        ExportError: A part of it can't be exported; says which, why and how to mend it.
    """
    whole = _whole(parts)
    small, unshrunk = _shrunk(parts, masks)
    program = _program(parts, small, stochastic)
    refuse_diverged(program)
    return Source(
        parts=parts,
        module=small,
        program=program,
        dense=_program(parts, whole, stochastic),
        unshrunk=unshrunk,
    )


def refuse_diverged(program: Program) -> None:
    """Checks whether a program computes with numbers.

    Raises:
        ExportError: It holds NaN, or a layer an infinity.
    """
    for node in program.nodes:
        layer = isinstance(node.operation, Dense | Conv | Lstm | Gru)
        for array in arrays_of(node.operation).values():
            if np.isnan(array).any() or (layer and np.isinf(array).any()):
                raise ExportError(
                    "the policy can't be exported: it holds NaN or infinite numbers, so its training "
                    "has diverged. Export an earlier checkpoint, or another point of the front."
                )


def program_of(parts: PolicyParts, masks: Mapping[str, Tensor]) -> Program:
    """Returns the program of a policy's export; arguments and errors as `source_of`."""
    return _program(parts, _shrunk(parts, masks)[0], stochastic=False)


def masked_program_of(parts: PolicyParts, masks: Mapping[str, Tensor]) -> Program:
    """The same of a policy as it was built, with pruned weights at zero."""
    return _program(parts, _masked(parts, masks), stochastic=False)


def _shrunk(parts: PolicyParts, masks: Mapping[str, Tensor]) -> tuple[torch.nn.Module, str]:
    """A policy's smaller module, or why there is none and the one that it has."""
    _refuse_tree(parts)
    try:
        return shrink_policy(parts.module, masks).module, ""
    except ShrinkError as error:
        return _masked(parts, masks), str(error)


def _masked(parts: PolicyParts, masks: Mapping[str, Tensor]) -> torch.nn.Module:
    whole = _whole(parts)
    apply_masks_(dict(whole.named_parameters()), dict(_of(whole, masks)))
    return whole


def _whole(parts: PolicyParts) -> torch.nn.Module:
    _refuse_tree(parts)
    return without_critic(parts.module, critic_names(parts.module))


def _refuse_tree(parts: PolicyParts) -> None:
    if isinstance(parts.module, TreeModule):
        raise ExportError(
            "the policy is a decision tree, and only networks are exported. Its thresholds are plain "
            "numbers: rllib_ext.load_policy(folder).module.tree has them."
        )


def _of(module: torch.nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = dict(module.named_parameters())
    return {name: mask for name, mask in masks.items() if name in names}


def _program(parts: PolicyParts, module: torch.nn.Module, stochastic: bool) -> Program:
    space = parts.env_to_module.input_observation_space
    if space is None:
        raise ExportError(
            "the policy's connectors don't know the environment's observation space. Save it again with "
            "this version."
        )
    like: Any = module
    builder = Builder()
    outputs = trace_module(like, observe(builder, space, parts.env_to_module), builder)
    act(builder, outputs, parts.module, parts.module_to_env, stochastic=stochastic)
    return builder.program()
