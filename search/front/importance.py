"""Importance of hyperparameters for progress, estimated from the archive: exploratory, no experiment.

In a population, good members are copied, and hyperparameters spread with their luck. Therefore the unit
is a segment: its gains, given its starting point and its progress in training. Importance is the
increase in a model's error on segments of unseen members when a hyperparameter's values are shuffled
(permutation importance, Breiman 2001; on held-out data, so that noise scores about 0).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.front.format import setting, signed
from search.front.segment_gains import COVARIATES, GAINS, is_number, segment_gains
from search.store.archive import Snapshot

Floats = NDArray[np.float64]

# Largest number of segments used: more take time and add little.
MOST_SEGMENTS = 2000
# Fewest segments per column of the model for which importance is computed.
SEGMENTS_PER_COLUMN = 2
FOLDS = 8
SHUFFLES = 20
RESAMPLES = 2000
# Ridge penalties per segment on standardised columns of hyperparameters. Covariates are almost
# unpenalised; otherwise a hyperparameter that is merely correlated with them would share their effect.
PENALTIES = (0.01, 0.1, 1.0)
FREE = 1e-3


@dataclasses.dataclass(frozen=True)
class Importance:
    """Importance of hyperparameters for the gains of segments.

    Attributes:
        table: One row per hyperparameter and gain, columns `COLUMNS`. Importance is a share of the
            gain's variance; `low` and `high` are a 95 % interval, resampled by fold of members, NaN with
            fewer than three folds; `effect` says which values gained more.
        explained: By gain, the shares of its variance over unseen members explained by the covariates
            alone, and by the covariates with the hyperparameters that always act.
        segments: Number of segments in the archive.
        used: Number of segments that the models used.
        notes: Hyperparameters that were left out, and why.
    """

    table: pd.DataFrame
    explained: dict[str, tuple[float, float]]
    segments: int
    used: int
    notes: tuple[str, ...]


COLUMNS = ["gain", "hyperparameter", "group", "segments", "importance", "low", "high", "effect"]


def importance(records: Sequence[Snapshot], random_return: float) -> Importance:
    """Returns the permutation importance of every hyperparameter that varied, for both gains.

    Hyperparameters that only act under some choice are assessed on the segments in which they acted,
    together with those that always act. The model is a ridge regression on ranks and their squares, so
    that it is robust to outliers, with the one of three penalties that predicts unseen members best.
    Effects that exist only in interaction are not found.

    Args:
        records: Snapshots in the order they were made.
        random_return: Mean return of the random policy; NaN if unknown.
    """
    gains, recipes = segment_gains(records, random_return)
    everything = len(gains)
    if everything > MOST_SEGMENTS:
        kept = np.linspace(0, everything - 1, MOST_SEGMENTS).round().astype(int)
        gains, recipes = gains.iloc[kept], [recipes[i] for i in kept]
    notes: list[str] = []
    rows: list[dict[str, Any]] = []
    explained: dict[str, tuple[float, float]] = {}
    for names, shared in _groups(recipes):
        active = np.array([set(names) <= r.keys() for r in recipes], dtype=bool)
        part, own = gains[active], [r for r in recipes if set(names) <= r.keys()]
        blocks = _blocks(own, [*shared, *(n for n in names if n not in shared)])
        width = sum(b.shape[1] for b in blocks.values())
        wanted = [n for n in names if n in blocks]
        base = _covariates(part)
        folds = _folds(part["member"].to_numpy())
        where = "" if set(names) <= set(shared) else _where(own, recipes)
        if not wanted:
            continue
        enough = SEGMENTS_PER_COLUMN * (width + base.shape[1])
        if len(part) < enough or folds.max(initial=0) < 1:
            notes.append(
                f"{', '.join(wanted)}: {len(part)} segments of {folds.max(initial=0) + 1} folds of "
                f"members are too few (at least {enough} of 2)"
            )
            continue
        for gain in GAINS:
            y = part[gain].to_numpy(float)
            if np.ptp(y) == 0:
                continue
            seen = _held_out(y, base, blocks, folds, wanted)
            if not where:
                explained[GAINS[gain]] = seen.explained
            rows += [
                {
                    "gain": GAINS[gain],
                    "hyperparameter": name,
                    "group": where or "always",
                    "segments": len(part),
                    **seen.importance[name],
                    "effect": _effect(name, own, y, base, blocks, seen.penalty),
                }
                for name in wanted
            ]
    return Importance(
        pd.DataFrame(rows, columns=COLUMNS), explained, everything, len(gains), tuple(notes)
    )


def _groups(recipes: Sequence[Mapping[str, Any]]) -> list[tuple[list[str], list[str]]]:
    """Groups hyperparameters by the segments in which they act; adds those that always act to each."""
    acts: dict[tuple[bool, ...], list[str]] = {}
    for name in sorted({name for recipe in recipes for name in recipe}):
        acts.setdefault(tuple(name in recipe for recipe in recipes), []).append(name)
    shared = acts.get((True,) * len(recipes), [])
    ordered = sorted(acts.values(), key=lambda names: names != shared)
    return [(names, shared) for names in ordered]


def _where(own: Sequence[Mapping[str, Any]], recipes: Sequence[Mapping[str, Any]]) -> str:
    """Returns the choice under which a group of hyperparameters acts, such as "schedule = plateau"."""
    for name in sorted(own[0]):
        values = {str(r.get(name)) for r in own}
        if len(values) == 1 and not is_number([own[0][name]]):
            others = [r for r in recipes if str(r.get(name)) in values]
            if len(others) == len(own) < len(recipes):
                return f"{name.rpartition('.')[2]} = {values.pop()}"
    return "where it acts"


def _blocks(recipes: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Floats]:
    """Returns standardised columns per varying hyperparameter: rank and square, or one per choice."""
    blocks = {}
    for name in names:
        values = [r[name] for r in recipes]
        if len(set(values)) < 2:
            continue
        if is_number(values):
            x = _ranks(np.asarray(values, dtype=np.float64)[:, None])
            blocks[name] = np.hstack([x, _standard(x**2)]) if len(set(values)) > 2 else x
        else:
            kinds = sorted(set(map(str, values)))[1:]
            columns = [[float(str(v) == kind) for v in values] for kind in kinds]
            blocks[name] = _standard(np.array(columns, dtype=np.float64).T)
    return blocks


def _covariates(gains: pd.DataFrame) -> Floats:
    x = _ranks(gains[list(COVARIATES)].to_numpy(float))
    products = [x[:, i] * x[:, j] for i, j in combinations(range(len(COVARIATES)), 2)]
    return np.hstack([x, _standard(x**2), _standard(np.column_stack(products))])


def _ranks(x: Floats) -> Floats:
    return _standard(pd.DataFrame(x).rank().to_numpy(float))


def _standard(x: Floats) -> Floats:
    spread = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _folds(members: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the fold of each segment; all segments of a member are in the same fold."""
    _, index = np.unique(members, return_inverse=True)
    return np.asarray(index % FOLDS, dtype=np.int64)


@dataclasses.dataclass(frozen=True)
class _Seen:
    penalty: float
    explained: tuple[float, float]
    importance: dict[str, dict[str, float]]


def _held_out(
    y: Floats,
    base: Floats,
    blocks: Mapping[str, Floats],
    folds: NDArray[np.int64],
    names: list[str],
) -> _Seen:
    """Computes importance from errors on left-out members, with original and shuffled values."""
    x = np.hstack([base, *blocks.values()])
    starts = np.cumsum([base.shape[1], *(b.shape[1] for b in blocks.values())])
    columns = {n: slice(a, b) for n, a, b in zip(blocks, starts, starts[1:], strict=False)}
    masks = [folds == fold for fold in range(int(folds.max()) + 1)]
    spread = np.array([((y[out] - y.mean()) ** 2).sum() for out in masks])
    free = base.shape[1]
    plain, _, _ = _missed(base, y, masks, free, FREE)
    tried = {p: _missed(x, y, masks, free, p) for p in PENALTIES}
    penalty = min(PENALTIES, key=lambda p: tried[p][0])
    full, missed, weights = tried[penalty]
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(masks), np.full(len(masks), 1 / len(masks)), size=RESAMPLES)
    total = np.maximum(drawn @ spread, 1e-12 * spread.sum())
    found = {}
    for name in names:
        gap = np.zeros(len(masks))
        for i, out in enumerate(masks):
            part = x[out][:, columns[name]] @ weights[i][columns[name]]
            order = np.argsort(rng.random((SHUFFLES, len(part))), axis=1)
            shuffled = ((missed[i] + part - part[order]) ** 2).sum(axis=1)
            gap[i] = shuffled.mean() - (missed[i] ** 2).sum()
        low, high = np.nan, np.nan
        if len(masks) > 2:
            low, high = np.quantile(drawn @ gap / total, [0.025, 0.975])
        found[name] = {"importance": gap.sum() / spread.sum(), "low": low, "high": high}
    whole = spread.sum()
    return _Seen(penalty, (float(1 - plain / whole), float(1 - full / whole)), found)


def _missed(
    x: Floats, y: Floats, masks: Sequence[NDArray[np.bool_]], free: int, penalty: float
) -> tuple[float, list[Floats], list[Floats]]:
    """Returns the total squared error, and errors and weights per fold, predicted from other folds."""
    weights = [_ridge(x[~out], y[~out], free, penalty) for out in masks]
    missed = [y[out] - y[~out].mean() - x[out] @ w for out, w in zip(masks, weights, strict=True)]
    return float(sum((e**2).sum() for e in missed)), missed, weights


def _ridge(x: Floats, y: Floats, free: int, penalty: float) -> Floats:
    """Returns the weights of a ridge regression whose first `free` columns are nearly unpenalised."""
    penalties = np.where(np.arange(x.shape[1]) < free, FREE, penalty)
    gram = x.T @ x + len(x) * np.diag(penalties)
    return np.asarray(np.linalg.solve(gram, x.T @ (y - y.mean())))


def _effect(
    name: str,
    recipes: Sequence[Mapping[str, Any]],
    y: Floats,
    base: Floats,
    blocks: Mapping[str, Floats],
    penalty: float,
) -> str:
    """Describes the change that the model predicts for other values of one hyperparameter."""
    others = [b for key, b in blocks.items() if key != name]
    x = np.hstack([base, *others, blocks[name]])
    part = blocks[name] @ _ridge(x, y, base.shape[1], penalty)[-blocks[name].shape[1] :]
    values = [r[name] for r in recipes]
    if not is_number(values):
        best = values[int(np.argmax(part))]
        return f"{signed(np.ptp(part))} with {best}"
    order = np.argsort(values, kind="stable")
    low, high = order[len(order) // 4], order[3 * len(order) // 4]
    change = signed(part[high] - part[low])
    return f"{change} from {setting(values[low])} to {setting(values[high])}"
