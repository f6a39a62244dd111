"""Compares several searches on one scale; the statistical unit is a whole search."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rllib_ext.pruning.errors import ResultsError
from search.config.baseline_kinds import TITLES
from search.front.attainment import bands_of
from search.front.identity import config_of, environments, folder_labels
from search.front.intervals import interquartile_interval, interquartile_mean
from search.front.pareto import hypervolume, log_density
from search.front.results import Results
from search.front.retained import Scale
from search.store.began_with import flat

Floats = NDArray[np.float64]

# Shares of the dense policy's return, in per cent, for which the picked points are compared.
LEVELS = ("95", "99")
AREAS = {"over_decades": "decades of density", "over_sparsity": "sparsity"}
PLAIN = [
    "group", "folder", "baseline", "made", "weights", "unit", "return_mean", "return_ci_low",
    "return_ci_high",
]  # fmt: skip
# Settings in which repeats of a search may differ.
NOT_THE_CONFIG = ("seed", "resources", "trackers")
# Largest number of differences in a group's name.
NAMED = 2


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Searches of one environment on a common scale.

    Attributes:
        searches: One row per search: `group, folder, seed, points, over_decades, over_sparsity` (areas),
            `weights_95, weights_99` (non-zero weights of its own picks), `measured` (whether its own
            dense baseline is clearly above random, which such picks require), `training_steps,
            wall_time`.
        groups: One row per group of repeats: `group, searches`; for each area, and for `weights_95` and
            `weights_99` of the searches that have them, the interquartile mean, `…_low` and `…_high`
            (95 % interval, NaN below `FEWEST` searches); `keep_95, keep_99` (number of searches with
            such a pick); `measured` (number of searches that could have one).
        fronts: One row per front point: `group, folder, snapshot_id, weights, sparsity, return_mean,
            return_ci_low, return_ci_high, retained`. Folder names are as short as they can be while
            distinct.
        bands: Empirical attainment surfaces over repeats: `group, weights, low, median, high` of the
            return with at most that many weights, for groups of two searches or more; see
            `search.front.attainment`.
        plain: One row per trained baseline of a search: `group, folder, baseline, made, weights, unit,
            return_mean, return_ci_low, return_ci_high`.
        scale: Common scale: the means over the searches' own baselines.
        env: Name of the environment, with its settings if it has any.
        notes: Warnings that a reader needs first.
    """

    searches: pd.DataFrame
    groups: pd.DataFrame
    fronts: pd.DataFrame
    bands: pd.DataFrame
    scale: Scale
    env: str
    notes: tuple[str, ...]
    plain: pd.DataFrame = dataclasses.field(default_factory=lambda: pd.DataFrame(columns=PLAIN))


def compare(searches: Sequence[Results]) -> Comparison:
    """Compares searches on a common scale.

    Args:
        searches: Two or more searches of one environment.

    Raises:
        ResultsError: The searches differ in environment, one is given twice, or none has a front.
    """
    folders = [str(r.folder.resolve()) for r in searches]
    twice = sorted({f for f in folders if folders.count(f) > 1})
    if twice:
        raise ResultsError(f"{twice[0]} is given twice. Name each search once.")
    envs = environments(searches)
    if len(envs) > 1:
        raise ResultsError(
            f"The searches are of several environments: {', '.join(envs)}. Returns can only be compared "
            "within one; compare the searches of each by themselves."
        )
    places = [r.folder for r in searches]
    labels = dict(zip(places, folder_labels(places), strict=True))
    confirmed = [r for r in searches if r.has_front]
    if not any(len(r.confirmed.table) for r in confirmed):
        raise ResultsError(
            "None of the searches has a front. Finish one with `prunefront resume DIR`."
        )
    notes = [
        f"{labels[r.folder]} is not finished and is left out"
        for r in searches
        if r not in confirmed
    ]
    notes += [
        f"nothing that {labels[r.folder]} found is worth having: its hypervolume is 0"
        for r in confirmed
        if r.confirmed.table.empty
    ]
    scale = common_scale([r.confirmed.scale for r in confirmed])
    names = group_names(confirmed)
    notes += [scale.note] if scale.note else _unmeasured(confirmed, labels)
    notes += [
        f"the archive of {labels[r.folder]} is incomplete: {'; '.join(r.losses)}"
        for r in confirmed
        if r.losses
    ]
    if weak := [labels[r.folder] for r in confirmed if r.dense_is_weak]:
        notes.append(
            f"the dense baseline of {', '.join(weak)} is weak: members that were pruned reached far "
            "more, so that keeping a share of it is no proof that nothing was lost"
        )
    notes += _doubts(confirmed, names)
    told = [
        (r, {"group": n, "folder": labels[r.folder]}) for r, n in zip(confirmed, names, strict=True)
    ]
    own = [(which["group"], _front(r, which, scale)) for r, which in told]
    fronts = pd.concat([front for _, front in own if len(front)], ignore_index=True)
    rows = pd.DataFrame([_search(r, which, scale) for r, which in told])
    groups = pd.DataFrame(
        [group_of(name, part) for name, part in rows.groupby("group", sort=False)]
    )
    bands = bands_of(own, scale)
    plain = pd.concat([_plain(r, which) for r, which in told], ignore_index=True)
    return Comparison(rows, groups, fronts, bands, scale, envs[0], tuple(notes), plain)


def common_scale(scales: Sequence[Scale]) -> Scale:
    """Returns the mean of random, dense and floor over the searches that have a scale."""
    known = [s for s in scales if not s.note]
    if not known:
        return Scale(note="no search has a usable dense and random baseline: no hypervolume")
    return Scale(
        random=float(np.mean([s.random for s in known])),
        dense=float(np.mean([s.dense for s in known])),
        floor=float(np.mean([s.floor for s in known])),
    )


def group_names(searches: Sequence[Results]) -> list[str]:
    """Returns the group of each search: repeats have equal configurations except for `NOT_THE_CONFIG`.

    Groups are named after the experiment; groups with the same name also by their differences.
    """
    settings = [_settings(r) for r in searches]
    kinds: list[dict[str, Any]] = []
    for one in settings:
        if one not in kinds:
            kinds.append(one)
    names = [str(kind.get("name", "search")) for kind in kinds]
    full = []
    for i, kind in enumerate(kinds):
        rivals = [other for j, other in enumerate(kinds) if names[j] == names[i]]
        keys = [k for k in sorted({k for r in rivals for k in r}) if _varies(k, rivals)]
        detail = ", ".join(
            f"{k.rpartition('.')[2]} = {kind.get(k, 'default')}" for k in keys[:NAMED]
        )
        full.append(f"{names[i]}, {detail}" if detail else names[i])
    # Groups that the first differences don't distinguish are numbered.
    labels = [
        name if full.count(name) == 1 else f"{name} ({full[: i + 1].count(name)})"
        for i, name in enumerate(full)
    ]
    return [labels[kinds.index(one)] for one in settings]


def _unmeasured(searches: Sequence[Results], labels: Mapping[Path, str]) -> list[str]:
    """Returns notes about searches without a scale of their own, when others have one."""
    return [
        f"{labels[r.folder]} is measured on the others' baselines alone: {r.confirmed.scale.note}"
        for r in searches
        if r.confirmed.scale.note
    ]


def _varies(key: str, kinds: Sequence[Mapping[str, Any]]) -> bool:
    return any(kind.get(key) != kinds[0].get(key) for kind in kinds)


def _settings(results: Results) -> dict[str, Any]:
    """Returns the flattened configuration without the settings in which repeats may differ."""
    values = config_of(results)
    if not values:
        values = {k: results.manifest.get(k) for k in ("strategy", "members", "budget")}
    kept = {k: v for k, v in values.items() if k not in NOT_THE_CONFIG}
    return flat({**kept, "name": values.get("name", results.name)})


def _doubts(searches: Sequence[Results], names: Sequence[str]) -> list[str]:
    notes = []
    pairs = [(name, r.manifest.get("seed")) for r, name in zip(searches, names, strict=True)]
    for name, seed in sorted({p for p in pairs if pairs.count(p) > 1 and p[1] is not None}):
        notes.append(f"searches of “{name}” share seed {seed}: they are not independent")
    if len({max(s.total_params for s in r.records) for r in searches}) > 1:
        notes.append("the networks differ in size: sparsities are of different wholes")
    if any(r.confirmed.figures == "selection" for r in searches):
        notes.append("some figures come from selection episodes, which favour what they chose")
    steps = [n for r in searches if (n := _training_steps(r)) is not None]
    if steps and max(steps) > 1.1 * min(steps):
        notes.append(f"training budgets differ: {min(steps):,} to {max(steps):,} env steps")
    return notes


def _front(results: Results, which: Mapping[str, str], scale: Scale) -> pd.DataFrame:
    table = results.confirmed.table
    columns = ["snapshot_id", "sparsity", "return_mean", "return_ci_low", "return_ci_high"]
    return table[[*columns, "selection_return", "total_params"]].assign(
        **which,
        weights=table["nonzero_params"].clip(lower=1),
        retained=scale.retained(table["return_mean"].to_numpy(float)),
    )


def _plain(results: Results, which: Mapping[str, str]) -> pd.DataFrame:
    table = results.baselines
    table = table[table["kind"].isin(list(TITLES)) & table["return_mean"].notna()]
    return table.assign(
        **which,
        baseline=table["name"],
        made=table["kind"].map(TITLES),
        weights=table["nonzero_params"].clip(lower=1),
    )[PLAIN]


def _search(results: Results, which: Mapping[str, str], scale: Scale) -> dict[str, Any]:
    table = results.confirmed.table
    areas = front_areas(
        table["return_mean"].to_numpy(float),
        table["sparsity"].to_numpy(float),
        table["total_params"].to_numpy(float),
        scale,
    )
    picks = {}
    for level in LEVELS:
        marked = table.loc[table[f"keeps_{level}"].astype(bool), "nonzero_params"]
        picks[f"weights_{level}"] = float(marked.iloc[0]) if len(marked) else math.nan
    return {
        **which,
        "seed": results.manifest.get("seed"),
        "points": len(table),
        **areas,
        **picks,
        "measured": not results.confirmed.scale.note,
        "training_steps": _training_steps(results),
        "wall_time": results.manifest.get("wall_time"),
    }


def _training_steps(results: Results) -> int | None:
    steps = results.manifest.get("env_steps")
    found = steps.get("training") if isinstance(steps, dict) else None
    return found if isinstance(found, int) else None


def front_areas(
    returns: ArrayLike, sparsity: ArrayLike, total: ArrayLike, scale: Scale
) -> dict[str, float]:
    """Returns the hypervolumes of one front on a common scale; NaN if the scale is undefined.

    The reference point is sparsity 0 and the retained share of the scale's floor.
    """
    if scale.note:
        return dict.fromkeys(AREAS, math.nan)
    kept = scale.retained(returns)
    axes = {"over_decades": log_density(sparsity, total), "over_sparsity": np.asarray(sparsity)}
    reference = (scale.retained_floor, 0.0)
    return {name: hypervolume(np.column_stack([kept, axes[name]]), reference) for name in AREAS}


def group_of(name: Any, part: pd.DataFrame) -> dict[str, Any]:
    """Returns the row of one group of repeats.

    Args:
        name: Name of the group.
        part: Rows of the group's searches.
    """
    rng = np.random.default_rng(0)
    row: dict[str, Any] = {
        "group": name,
        "searches": len(part),
        "measured": int(part["measured"].sum()),
    }
    for area in AREAS:
        values = part[area].to_numpy(float)
        low, high = interquartile_interval(values, rng)
        row |= {area: float(interquartile_mean(values)), f"{area}_low": low, f"{area}_high": high}
    for level in LEVELS:
        name = f"weights_{level}"
        known = part[name].dropna().to_numpy(float)
        low, high = interquartile_interval(known, rng)
        mean = float(interquartile_mean(known)) if known.size else math.nan
        row |= {name: mean, f"{name}_low": low, f"{name}_high": high, f"keep_{level}": known.size}
    return row
