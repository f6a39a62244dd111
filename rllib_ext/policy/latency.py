"""Measures the latency of a policy's decisions.

The shrunk policy, one observation at a time, one thread: the forward pass of the RLModule, without
connectors. Policies take turns, so that what else the machine does meets all of them alike.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_ext.policy.store import MASKS
from rllib_ext.pruning.errors import ShrinkError
from rllib_ext.pruning.masks import load_masks
from rllib_ext.rl.module.probing import probe_of
from rllib_ext.rl.module.shrinking import shrink_policy

# Short turns: whatever else runs on the machine then meets all alike.
ROUNDS = 301
CALLS = 5


def latencies(folders: Mapping[str, Path]) -> dict[str, float]:
    """Measures saved policies in this process; nothing else should run beside it.

    Runs code from the checkpoints.

    Args:
        folders: Saved policies by name.

    Returns:
        Microseconds of a decision, by name: the median over rounds.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return interleaved({name: decision(folder) for name, folder in folders.items()})
    finally:
        torch.set_num_threads(threads)


def decision(folder: Path) -> Callable[[], object]:
    """One decision of a saved policy, on an observation drawn from its space.

    What has no smaller network with equal outputs decides with the one that it has.
    """
    module = RLModule.from_checkpoint(folder.resolve() / "rl_module")
    if any(True for _ in module.parameters()):
        with contextlib.suppress(ShrinkError):
            module = shrink_policy(module, load_masks(folder / MASKS)).module
    module.eval()
    probe = probe_of(module, policy_only=True, batch=1, steps=1)
    inputs = probe.inputs(module, torch.Generator().manual_seed(0))

    @torch.inference_mode()
    def decide() -> object:
        return probe.forward(module, inputs)

    return decide


def interleaved(
    works: Mapping[str, Callable[[], object]],
    *,
    rounds: int = ROUNDS,
    calls: int = CALLS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Times pieces of work in turns, after a round to warm up.

    Args:
        works: By name.
        rounds: Number of turns of each, ≥ 1; the order is reversed every time.
        calls: Number of calls per turn, ≥ 1.
        clock: Seconds.

    Returns:
        Microseconds of a call, by name: the median over rounds.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name in list(works) if number % 2 else reversed(list(works)):
            work = works[name]
            started = clock()
            for _ in range(calls):
                work()
            if number:
                found[name].append((clock() - started) / calls * 1e6)
    return {name: float(np.median(values)) for name, values in found.items()}
