"""Tables of the strategies' fronts on an environment, one strategy set against the others."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.shared.intervals import holm_intervals
from search.front import hypervolume, log_density

SCORES = {"over_decades": "retained × decades of density", "over_sparsity": "retained × sparsity"}


def print_tables(runs: pd.DataFrame, ours: str, confidence: float) -> None:
    """Prints a table an environment, budget and score.

    Args:
        runs: A row a search, with "env", "budget", "seed", "strategy", "random", "constant" and "dense"
            (returns), and "front" (of each point return, sparsity and number of weights).
        ours: The strategy whose paired differences from the others are shown.
        confidence: Of the differences' intervals together, in (0, 1).
    """
    for (env, budget), group in runs.groupby(["env", "budget"]):
        group = _on_one_scale(group.copy())
        print(f"\n{env}, {budget:,} env steps a search")
        for score, title in SCORES.items():
            table = group.pivot(index="seed", columns="strategy", values=score)
            print(f"  hypervolume of {title}")
            _print_differences(table, ours, confidence)


def _print_differences(table: pd.DataFrame, ours: str, confidence: float) -> None:
    rivals = [name for name in table.columns if name != ours]
    pairs = {}
    for name in rivals:
        if ours in table:
            pairs[name] = (table[ours] - table[name]).dropna().to_numpy()
    rows = dict(zip(pairs, holm_intervals(list(pairs.values()), confidence), strict=True))
    print(f"    {'strategy':<18}{'mean':>8}{'seeds':>7}{ours + ' − it':>18}", end="")
    print(f"  Holm-corrected {confidence:.0%} interval{'p':>10}{'wins':>8}")
    for name in sorted(table.columns, key=lambda n: -table[n].mean()):
        line = f"    {name:<18}{table[name].mean():>8.3f}{table[name].count():>7}"
        if name in rows:
            low, high, p = rows[name]
            difference = pairs[name]
            wins = f"{int((difference > 0).sum())}/{len(difference)}"
            line += f"{difference.mean():>+18.3f}  {low:>+14.3f} to {high:+.3f}{p:>16.3f}{wins:>8}"
        print(line)


def _on_one_scale(runs: pd.DataFrame) -> pd.DataFrame:
    """Hypervolumes anew: all runs of an environment share the scale of returns."""
    random, dense = runs["random"].mean(), runs["dense"].mean()
    floor = max(0.0, (runs["constant"].mean() - random) / (dense - random))
    for index, text in runs["front"].fillna("").items():
        points = np.array([[float(x) for x in p.split()] for p in str(text).split(";") if p])
        points = points.reshape(-1, 3)
        kept = (points[:, 0] - random) / (dense - random)
        axes = {
            "over_sparsity": points[:, 1],
            "over_decades": log_density(points[:, 1], points[:, 2]),
        }
        for score, axis in axes.items():
            runs.loc[index, score] = hypervolume(np.column_stack([kept, axis]), (floor, 0.0))
    return runs
