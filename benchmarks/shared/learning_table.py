"""The table of benchmarks/learning.py: one row per checkpoint, and the comparison made from them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from benchmarks.shared.intervals import mean_difference
from benchmarks.shared.rows import append_row
from search.front.retained import scale_of

LARGEST_SHARE = 0.10
ENGINES = ("rllib", "packed")
FIELDS = (
    "env",
    "settings",
    "engine",
    "seed",
    "checkpoint",
    "env_steps",
    "episodes",
    "return_mean",
    "cpu_seconds",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Training planned for an environment.

    Attributes:
        env: Id of the environment.
        checkpoints: Number of episodes to play, by env steps; the last is at the end.
        training: Arguments of `PPOConfig.training`.
        model: RLlib's `model_config`.
        envs: Number of environments per policy.
        engines: Engines that can train it.
    """

    env: str
    checkpoints: Mapping[int, int]
    training: Mapping[str, Any]
    model: Mapping[str, Any]
    envs: int
    engines: tuple[str, ...] = ENGINES

    @property
    def last(self) -> int:
        """Env steps at the end of training."""
        return max(self.checkpoints)

    @property
    def settings(self) -> str:
        """Fingerprint of the plan: rows that have it were trained in the same way."""
        trained = dataclasses.asdict(self)
        del trained["engines"]
        told = json.dumps(trained, sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:8]


def row(
    plan: Plan,
    engine: str,
    seed: int,
    checkpoint: int,
    env_steps: int,
    mean: float,
    episodes: int,
    seconds: float,
) -> dict[str, Any]:
    """Returns a row of the table.

    Args:
        plan: Plan of the training.
        engine: Engine that trained; "random" for a policy that acts at random.
        seed: Seed of the training.
        checkpoint: Env steps that were asked for.
        env_steps: Env steps that were taken.
        mean: Mean return; NaN in the only row of a seed whose weights are no longer finite.
        episodes: Number of episodes in the mean.
        seconds: CPU time of the training until then.
    """
    values = (plan.env, plan.settings, engine, seed, checkpoint, env_steps, episodes)
    return dict(zip(FIELDS, (*values, round(mean, 3), round(seconds, 2)), strict=True))


def append_rows(table: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Appends rows to the table, and prints them."""
    for one in rows:
        append_row(table, FIELDS, one)
        print(", ".join(f"{name} {one[name]}" for name in FIELDS), flush=True)


def read_rows(table: Path) -> pd.DataFrame:
    """Reads all rows. Exits the program if the file has other columns."""
    if not table.exists():
        return pd.DataFrame(columns=list(FIELDS))
    # A fingerprint, in hexadecimal digits, may look like a number.
    rows = pd.read_csv(table, dtype={"settings": str})
    if tuple(rows.columns) != FIELDS:
        sys.exit(
            f"{table} has the columns {', '.join(rows.columns)}; expected {', '.join(FIELDS)}. It was "
            "written by another version: name another folder with --output."
        )
    return rows


def missing(rows: pd.DataFrame, plan: Plan, engine: str, seeds: Sequence[int]) -> list[int]:
    """Returns the seeds that were not trained to the end as planned."""
    own = _of(rows, plan)
    there = set(own[(own.engine == engine) & (own.checkpoint == plan.last)].seed)
    return [seed for seed in seeds if seed not in there]


def print_table(plan: Plan, rows: pd.DataFrame) -> None:
    """Prints the results of what was trained as planned."""
    own = _of(rows, plan)
    print(f"\n{plan.env}, settings {plan.settings}", end="")
    others = int((rows.env == plan.env).sum()) - len(own)
    print(f"; {others} rows of other settings passed over" if others else "")
    runs = {engine: _whole(own[own.engine == engine], plan) for engine in ENGINES}
    _print_failed(own, plan)
    ended = {e: int((r.checkpoint == plan.last).sum()) for e, r in runs.items()}
    if min(ended.values()) < 2:
        print(f"  no comparison, fewer than two runs of an engine have ended: {ended}")
        for engine, own in runs.items():
            if ended[engine] >= 2:
                _print_engine(engine, plan, own)
        return
    at_end = {e: r[r.checkpoint == plan.last] for e, r in runs.items()}
    scale = scale_of(
        own[own.engine == "random"].return_mean.to_numpy(float),
        at_end["rllib"].return_mean.to_numpy(float),
    )
    if scale.note:
        print(f"  {scale.note}")
        return
    seconds = {e: r.cpu_seconds.mean() for e, r in at_end.items()}
    print(
        f"random {scale.random:.1f}, dense {scale.dense:.1f}; CPU seconds a seed: "
        f"rllib {seconds['rllib']:.0f}, packed {seconds['packed']:.1f}"
    )
    print(
        f"{'env steps':>10}{'rllib':>22}{'packed':>22}{'difference':>12}{'95 % interval, of span':>26}"
    )
    for mark in plan.checkpoints:
        at = {e: r[r.checkpoint == mark].return_mean.to_numpy(float) for e, r in runs.items()}
        difference, low, high = mean_difference(at["packed"], at["rllib"])
        span = scale.dense - scale.random
        cells = "".join(
            f"{f'{v.mean():.1f} ± {v.std(ddof=1):.1f} ({len(v)})':>22}" for v in at.values()
        )
        interval = f"{low / span:+.1%} to {high / span:+.1%}" if low <= high else "no variance"
        verdict = f"   {_verdict(low / span, high / span)}" if mark == plan.last else ""
        print(f"{mark:>10,}{cells}{difference:>12.1f}{interval:>26}{verdict}")


def _print_engine(engine: str, plan: Plan, rows: pd.DataFrame) -> None:
    """Prints the returns of one engine's policies."""
    print(f"{'env steps':>10}{engine:>22}{'95 % interval of the mean':>28}")
    for mark in plan.checkpoints:
        returns = rows[rows.checkpoint == mark].return_mean.to_numpy(float)
        reach = stats.t.ppf(0.975, len(returns) - 1) * stats.sem(returns)
        shown = f"{returns.mean():.1f} ± {returns.std(ddof=1):.1f} ({len(returns)})"
        interval = f"{returns.mean() - reach:.1f} to {returns.mean() + reach:.1f}"
        print(f"{mark:>10,}{shown:>22}{interval:>28}")


def _of(rows: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    return rows[(rows.env == plan.env) & (rows.settings == plan.settings)]


def _whole(rows: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Returns the rows of seeds that were trained to the end."""
    ended = rows[(rows.checkpoint == plan.last) & rows.return_mean.notna()]
    return rows[rows.seed.isin(ended.seed)]


def _print_failed(rows: pd.DataFrame, plan: Plan) -> None:
    at_end = rows[rows.checkpoint == plan.last]
    told = []
    for engine in ENGINES:
        own = at_end[at_end.engine == engine]
        failed = own[own.return_mean.isna()]
        if len(failed):
            told.append(f"{engine} {len(failed)} of {len(own)}")
    if told:
        print(f"  left out, weights not finite: {', '.join(told)} seeds")


def _verdict(low: float, high: float) -> str:
    if math.isnan(low):
        return "no verdict: neither engine's returns vary"
    within = max(abs(low), abs(high)) <= LARGEST_SHARE
    return f"{'within' if within else 'NOT within'} ±{LARGEST_SHARE:.0%}"
