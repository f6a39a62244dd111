"""Measures objectives of a search: size of the shrunk policy, its flash in C, and its latency."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rllib_ext.export.errors import ExportError
from rllib_ext.export.footprint import counted_bytes
from rllib_ext.export.program import Program
from rllib_ext.export.source import masked_program_of, program_of
from rllib_ext.export.timing import timer
from rllib_ext.policy.size import measured_size
from rllib_ext.policy.store import PolicyParts
from rllib_ext.pruning.structure.copies import copy_of

# Those that are measured on what an export of the policy would be.
EXPORTED = frozenset({"bytes", "latency"})


def measured_objectives(
    names: Sequence[str], parts: PolicyParts, masks: Mapping[str, Tensor], form: str = ""
) -> dict[str, float]:
    """Measures the policy that would be deployed.

    Args:
        names: Those of `rllib_ext.policy.size.measured_size`; "bytes": flash of the policy in C, in
            float, counted as `rllib_ext.export.footprint.counted_bytes` does; "latency": microseconds
            of a decision in `form` on this machine with one thread, the least of 101 rounds, which
            repeats to a few per cent also where all cores are busy. None: nothing is measured.
        parts: The policy's; left as they are.
        masks: By parameter name, True = keep.
        form: One of `rllib_ext.export.timing.TIMED_FORMS`, for "latency".

    Returns:
        Values by name.

    Raises:
        ExportError: The policy can't be exported at all, or the form can't run here.
    """
    of_module = [name for name in names if name not in EXPORTED]
    found = measured_size(of_module, parts.module, masks)
    if not EXPORTED.isdisjoint(names):
        program = _exported(parts, masks)
        if "bytes" in names:
            found["bytes"] = float(counted_bytes(program))
        if "latency" in names:
            found["latency"] = timer(program, form)().least
    return {name: found[name] for name in names}


def _exported(parts: PolicyParts, masks: Mapping[str, Tensor]) -> Program:
    """Returns the program of the shrunk policy, or of the unshrunk one if only that can be exported."""
    parts = dataclasses.replace(parts, module=_finite(parts.module))
    try:
        return program_of(parts, masks)
    except ExportError:
        return masked_program_of(parts, masks)


def _finite(module: Any) -> Any:
    """The module; of one that has diverged a copy with finite weights: it has a size all the same."""
    if all(bool(torch.isfinite(p).all()) for p in module.parameters()):
        return module
    copied = copy_of(module)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.nan_to_num_(nan=1.0, posinf=1.0, neginf=-1.0)
    return copied
