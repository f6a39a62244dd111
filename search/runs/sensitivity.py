"""Implements `prunefront sensitivity`: a table of the cost of each layer's sparsity."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.checkpoint.pruned import in_one_process, load_for_pruning
from rllib_ext.checkpoint.reading import readable
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.policy.sensitivity import SPARSITIES, check_sparsities, measure_sensitivity
from rllib_ext.policy.store import load_policy, policy_of
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.sensitivity_table import SensitivityTable
from search.config.seeds import draw
from search.front.format import number, percent
from search.front.text_table import text_table
from search.runs.inputs import Say, is_policy, open_checkpoint, open_policy
from search.runs.session import connected


def sensitivity_of(
    path: Path,
    env: str | None,
    say: Say,
    *,
    sparsities: Sequence[float],
    exclude: Sequence[str] = (),
    episodes: int,
    seed: int,
    returns: bool,
) -> SensitivityTable:
    """Measures the sensitivity of a checkpoint's policy, or of a saved one. Runs code from it.

    Args:
        path: The algorithm's checkpoint, or the policy's folder.
        env: Environment to use instead of the one that the checkpoint or policy names.
        say: Callback for the warning that code is about to run.
        sparsities: Sparsities to try at each layer, in (0, 1]; empty for those of
            `rllib_ext.policy.sensitivity.SPARSITIES`.
        exclude: Shell patterns over parameter names; matching parameters are not measured.
        episodes: Number of episodes per measurement.
        seed: Seed that determines the episodes.
        returns: Whether each pruned policy also plays the episodes; otherwise only the divergence is
            measured.

    Raises:
        PrunefrontError: The policy can't be loaded, or a sparsity is out of range.
    """
    check_sparsities(sparsities)
    if episodes < 1 or seed < 0:
        raise ConfigError(
            f"episodes = {episodes}, seed = {seed}; expected 1 or more episodes and a seed of 0 or more."
        )
    ppo = open_policy(path, env, say) if is_policy(path) else open_checkpoint(path, env, say)
    with contextlib.nullcontext() if is_policy(path) else connected():
        return _measured(
            path,
            ppo,
            draw(seed, "baseline", episodes),
            sparsities=sparsities or SPARSITIES,
            exclude=exclude,
            returns=returns,
        )


def _measured(path: Path, ppo: PPOConfig, seeds: Sequence[int], **how: Any) -> SensitivityTable:
    evaluator = Evaluator(env_maker(ppo))
    algorithm = None
    try:
        if is_policy(path):
            with readable(path):
                policy = load_policy(path)
        else:
            config = in_one_process(ppo, seed=0)
            algorithm = load_for_pruning(path, config, PruningConfig(final_sparsity=0.0))
            policy = policy_of(algorithm)
        return measure_sensitivity(policy, evaluator, seeds, **how)
    finally:
        evaluator.close()
        if algorithm is not None:
            algorithm.stop()


def sensitivity_frame(table: SensitivityTable) -> pd.DataFrame:
    """Returns the table with one row per layer and sparsity, for a file."""
    return pd.DataFrame(table.rows())


def sensitivity_text(table: SensitivityTable) -> str:
    """Formats the table: one column per sparsity, and per layer a line for return and for divergence."""
    levels = sorted({m.sparsity for m in table.measurements})
    layers = list(dict.fromkeys(m.layer for m in table.measurements))
    found = {(m.layer, m.sparsity): m for m in table.measurements}
    rows: list[tuple[str, ...]] = []
    for layer in layers:
        measured = [found[layer, s] for s in levels]
        if table.episodes:
            rows.append((layer, "return", *(number(m.return_mean) for m in measured)))
        named = "" if table.episodes else layer
        rows.append((named, "KL", *(number(m.kl) for m in measured)))
    lines = text_table(("<layer", "<", *(f">{percent(s)}" for s in levels)), rows)
    if table.episodes:
        lines.append(
            f"as it is: return {number(table.return_mean)} over {table.episodes} episodes; KL in nats"
        )
    else:
        lines.append("KL in nats; returns were not measured")
    return "\n".join(lines)
