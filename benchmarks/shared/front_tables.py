"""Tables of the strategies' fronts on an environment, one strategy set against the others."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.shared.intervals import paired_comparisons
from search.front.pareto import hypervolume, log_density
from search.front.retained import Scale, scale_of

SCORES = {"over_decades": "retained × decades of density", "over_sparsity": "retained × sparsity"}


def print_tables(runs: pd.DataFrame, ours: str, confidence: float) -> None:
    """Prints a table an environment, budget and score.

    All figures are of the seeds that every strategy shown has: means over different seeds would differ
    by the seeds too.

    Args:
        runs: A row a search, with "env", "budget", "seed", "strategy", "random", "constant" and "dense"
            (returns), and "front" (of each point return, sparsity and number of weights).
        ours: The strategy whose paired differences from the others are shown.
        confidence: Of the differences' intervals together, in (0, 1).
    """
    for (env, budget), group in runs.groupby(["env", "budget"]):
        print(f"\n{env}, {budget:,} env steps a search")
        scale = common_scale(group)
        if scale.note:
            print(f"  {scale.note}")
            continue
        kept = on_common_seeds(group)
        left_out = len(group) - len(kept)
        if left_out:
            print(f"  {left_out} of {len(group)} rows left out: of seeds that some strategy lacks")
        if kept.empty:
            continue
        scored = with_hypervolumes(kept, scale)
        for score, title in SCORES.items():
            table = scored.pivot(index="seed", columns="strategy", values=score)
            print(f"  hypervolume of {title}")
            _print_differences(table, ours, confidence)


def on_common_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of those seeds that every strategy has.

    Args:
        runs: A row a search, of one environment and budget.
    """
    having = runs.groupby("seed")["strategy"].nunique()
    common = having.index[having == runs["strategy"].nunique()]
    return runs[runs["seed"].isin(common)]


def common_scale(runs: pd.DataFrame) -> Scale:
    """What all returns of an environment are measured on: means of its searches' distinct baselines.

    Strategies with equal horizons train the same dense policy from a seed, which must not count as
    often as there are such strategies.

    Args:
        runs: A row a search, of one environment and budget.
    """
    returns = {
        name: runs.drop_duplicates(["seed", name])[name].to_numpy(float)
        for name in ("random", "dense", "constant")
    }
    return scale_of(**returns)


def _print_differences(table: pd.DataFrame, ours: str, confidence: float) -> None:
    pairs = {}
    if ours in table:
        rivals = table.drop(columns=ours)
        pairs = {name: (table[ours] - rivals[name]).to_numpy() for name in rivals}
    found = paired_comparisons(list(pairs.values()), confidence)
    rows = dict(zip(pairs, found, strict=True))
    heading = f"Bonferroni {confidence:.0%} interval"
    print(f"    {'strategy':<18}{'mean':>8}{'seeds':>7}{ours + ' − it':>18}", end="")
    print(f"{heading:>29}{'Holm p':>10}{'wins':>8}")
    for name in sorted(table.columns, key=lambda n: -table[n].mean()):
        line = f"    {name:<18}{table[name].mean():>8.3f}{table[name].count():>7}"
        if name in rows:
            low, high, p = rows[name]
            difference = pairs[name]
            wins = f"{int((difference > 0).sum())}/{len(difference)}"
            line += f"{difference.mean():>+18.3f}"
            line += f"{f'{low:+.3f} to {high:+.3f}':>29}{p:>10.3f}{wins:>8}"
        print(line)


def points_of(text: object) -> np.ndarray:
    """The points of a "front", of shape (points, 3): return, sparsity, number of weights."""
    found = [[float(x) for x in p.split()] for p in str(text).split(";") if p]
    return np.array(found).reshape(-1, 3)


def with_hypervolumes(runs: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Rows of searches with the hypervolumes of their fronts on a scale, by the names in `SCORES`."""
    scored = runs.copy()
    for index, text in runs["front"].fillna("").items():
        points = points_of(text)
        kept = scale.retained(points[:, 0])
        axes = {
            "over_sparsity": points[:, 1],
            "over_decades": log_density(points[:, 1], points[:, 2]),
        }
        for score, axis in axes.items():
            area = hypervolume(np.column_stack([kept, axis]), (scale.retained_floor, 0.0))
            scored.loc[index, score] = area
    return scored
