"""Measures by which fronts are compared, and tables that compare one strategy with the others."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.shared.intervals import paired_comparisons, smallest_visible
from search.front.pareto import hypervolume, log_density
from search.front.retained import Scale, scale_of

# Titles by the names of `measured`'s columns.
TITLES = {
    "weights_95%": "weights for 95%",
    "weights_99%": "weights for 99%",
    "over_decades": "hypervolume, retained × decades of density",
    "over_sparsity": "hypervolume, retained × sparsity",
}
# Shares of what a dense policy gains over a random one.
_SHARES = {"weights_95%": 0.95, "weights_99%": 0.99}


def print_tables(runs: pd.DataFrame, ours: str, confidence: float) -> None:
    """Prints a table for each environment, budget and score.

    All figures are of the seeds that every strategy shown has: means over different seeds would differ
    by the seeds too.

    Args:
        runs: One row per search, with "env", "budget", "seed", "strategy", "random", "constant" and
            "dense" (returns), "seconds", and "front" (return, sparsity and number of weights of each
            point).
        ours: The strategy whose paired differences from the others are shown.
        confidence: Joint confidence of the differences' intervals, in (0, 1).
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
        found = measured(kept, scale)
        for measure, title in TITLES.items():
            table = found.pivot(index="seed", columns="strategy", values=measure)
            unit = ", and by how many decades fewer" if is_of_weights(measure) else ""
            print(f"  {title}{unit}")
            _print_differences(measure, table, ours, confidence)
        spent = kept.groupby("strategy")["seconds"].mean().sort_values()
        print("  CPU seconds a search: ", end="")
        print(", ".join(f"{name} {seconds:.0f}" for name, seconds in spent.items()))


def on_common_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of those seeds that every strategy has.

    Args:
        runs: One row per search, of one environment and budget.
    """
    having = runs.groupby("seed")["strategy"].nunique()
    common = having.index[having == runs["strategy"].nunique()]
    return runs[runs["seed"].isin(common)]


def common_scale(runs: pd.DataFrame) -> Scale:
    """Returns the scale of all returns of an environment: means of its searches' distinct baselines.

    Strategies with equal horizons train the same dense policy from a seed, which must be counted once
    only.

    Args:
        runs: One row per search, of one environment and budget.
    """
    returns = {
        name: runs.drop_duplicates(["seed", name])[name].to_numpy(float)
        for name in ("random", "dense", "constant")
    }
    return scale_of(**returns)


def _print_differences(measure: str, table: pd.DataFrame, ours: str, confidence: float) -> None:
    pairs = {}
    if ours in table:
        rivals = table.drop(columns=ours)
        pairs = {name: gain(measure, table[ours], rivals[name]) for name in rivals}
    found = paired_comparisons(list(pairs.values()), confidence)
    rows = dict(zip(pairs, found, strict=True))
    heading = f"Bonferroni {confidence:.0%} interval"
    print(f"    {'strategy':<18}{'mean':>8}{'seeds':>7}{ours + ' − it':>18}", end="")
    print(f"{heading:>29}{'Holm p':>10}{'visible':>9}{'wins':>8}")
    better = gain(measure, table.mean(), 0.0)
    for name, _ in sorted(zip(table.columns, better, strict=True), key=lambda pair: -pair[1]):
        mean = shown_mean(measure, table[name].mean())
        line = f"    {name:<18}{mean:>8}{table[name].count():>7}"
        if name in rows:
            low, high, p = rows[name]
            difference = pairs[name]
            wins = f"{int((difference > 0).sum())}/{len(difference)}"
            line += f"{difference.mean():>+18.3f}"
            line += f"{f'{low:+.3f} to {high:+.3f}':>29}{p:>10.3f}"
            line += f"{visible(difference, confidence):>9.3f}{wins:>8}"
        print(line)


def visible(differences: np.ndarray, confidence: float) -> float:
    """Returns the smallest true difference that so many pairs detect in four of five comparisons.

    Args:
        differences: Paired differences, as found; if no two differ, their deviation isn't known.
        confidence: Confidence of a single comparison's test, in (0, 1).

    Returns:
        A difference ≥ 0, or NaN.
    """
    varied = len(differences) > 1 and np.ptp(differences) > 0.0
    deviation = float(np.std(differences, ddof=1)) if varied else float("nan")
    return smallest_visible(deviation, len(differences), confidence=confidence)


def is_of_weights(measure: str) -> bool:
    """Whether a measure is log10 of a number of weights, where fewer are better."""
    return measure in _SHARES


def gain(measure: str, ours: pd.Series, theirs: pd.Series | float) -> np.ndarray:
    """Returns by how much values of a measure are better than others; for weights, in decades."""
    difference = (ours - theirs).to_numpy(float)
    return -difference if is_of_weights(measure) else difference


def shown_mean(measure: str, mean: float) -> str:
    """Formats a mean for a table; for weights, the geometric mean."""
    return f"{10**mean:,.0f}" if is_of_weights(measure) else f"{mean:.3f}"


def measured(runs: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Returns rows of searches with the measures that compare fronts, columns named as in `TITLES`.

    Args:
        runs: A row a search, with "front" as `points_of` reads it.
        scale: Scale of returns.
    """
    found = _with_hypervolumes(runs, scale)
    for measure, share in _SHARES.items():
        needed = [
            weights_needed(points_of(text), scale, share) for text in runs["front"].fillna("")
        ]
        found[measure] = np.log10(needed)
    return found


def weights_needed(points: np.ndarray, scale: Scale, share: float) -> float:
    """Returns the fewest weights that keep a share of the dense policy's return.

    Args:
        points: Points of a front, as returned by `points_of`.
        scale: Scale of returns.
        share: Share of what the dense policy gains over a random one.

    Returns:
        A number ≥ 1; all weights if the front has no such point, NaN if it has no point at all.
    """
    if not len(points):
        return float("nan")
    weights = np.round((1.0 - points[:, 1]) * points[:, 2])
    keeping = weights[scale.retained(points[:, 0]) >= share]
    return float(max(1.0, keeping.min() if len(keeping) else points[:, 2].max()))


def points_of(text: object) -> np.ndarray:
    """Parses the points of a "front", shape (points, 3): return, sparsity, number of weights."""
    found = [[float(x) for x in p.split()] for p in str(text).split(";") if p]
    return np.array(found).reshape(-1, 3)


def _with_hypervolumes(runs: pd.DataFrame, scale: Scale) -> pd.DataFrame:
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
