"""Builds the confirmed front from fresh episodes: its points, their figures and the picked policies.

Selection episodes decide membership, knee and picks; report episodes give the figures. The two sets are
disjoint, so that the figures are not biased by the choice of the policies.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from search.config.goal import NO_GOAL, GoalSettings
from search.front.intervals import (
    Floats,
    interval,
    no_interval_note,
    probability_nondominated,
    resampled_means,
)
from search.front.membership import KEEPS, choose, is_usable, scale_from, usable
from search.front.pareto import hypervolume, log_density
from search.front.retained import Scale
from search.front.rivals import COLUMNS as RIVAL_COLUMNS
from search.front.rivals import rivals_of
from search.store.archive import Baseline, Evaluation, Purpose, Snapshot

# Size and latency of a policy as `prunefront export` writes it, named as in its `policy.json`.
AS_EXPORTED = (
    "c_flash_bytes",
    "c_latency_us",
    "onnx_file_bytes",
    "onnx_latency_us",
    "export_note",
)
FRONT_COLUMNS = (
    "snapshot_id",
    "sparsity",
    "density",
    "return_mean",
    "return_ci_low",
    "return_ci_high",
    "episodes",
    "search_return",
    "retained",
    "p_nondominated",
    "nonzero_params",
    "total_params",
    "shrunk_params",
    "macs",
    "latency_us",
    "knee",
    "policy",
    # beyond the contract
    "retained_ci_low",
    "retained_ci_high",
    "selection_return",
    "optimism",
    "keeps_95",
    "keeps_99",
    "goal",
    "policy_bytes",
    *AS_EXPORTED,
    "return_note",
    "figures",
)
BASELINE_COLUMNS = (
    "name",
    "description",
    "env_steps",
    "wall_time",
    "search_return",
    "return_mean",
    "return_ci_low",
    "return_ci_high",
    "episodes",
    "retained",
    "sparsity",
    "nonzero_params",
    "total_params",
    "shrunk_params",
    "macs",
    "latency_us",
    "policy_bytes",
    *AS_EXPORTED,
    "return_note",
    "checkpoint",
    "kind",
    "level",
    "unit",
    "flash_bytes",
)
# Figures from a policy's metadata that its snapshot doesn't contain.
MEASURED = ("shrunk_params", "macs", "latency_us", "policy_bytes", *AS_EXPORTED)
UNCONFIRMED = (
    "no policy of this search was re-evaluated on fresh seeds, so there is no front yet; search scores "
    "alone favour the lucky. Finish the search with prunefront resume DIR"
)
NOTHING_GOOD = (
    "no policy of this search was better than random and constant action, so none was re-evaluated: the "
    "front is empty"
)


@dataclasses.dataclass(frozen=True)
class Front:
    """The confirmed front of one search.

    Attributes:
        table: One row per front point, columns `FRONT_COLUMNS`, the densest first.
        candidates: The same for every re-evaluated snapshot, with the column `member`.
        baselines: One row per baseline, columns `BASELINE_COLUMNS`.
        scale: Scale of `retained`, from the episodes that give the figures.
        figures: Purpose of the episodes that give the figures: "report", or "selection" if report
            episodes are missing.
        notes: Warnings that a reader needs before trusting the figures; may be empty.
        rivals: Front points paired with the trained baselines that are no larger, with the columns of
            `search.front.rivals`.
    """

    table: pd.DataFrame
    candidates: pd.DataFrame
    baselines: pd.DataFrame
    scale: Scale
    figures: Purpose
    notes: tuple[str, ...]
    rivals: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame(columns=list(RIVAL_COLUMNS))
    )

    def pick(self, column: str) -> str:
        """Returns the `snapshot_id` of the row marked in a column such as "goal"; empty if none is."""
        marked = self.table.loc[self.table[column].astype(bool), "snapshot_id"]
        return str(marked.iloc[0]) if len(marked) else ""

    @property
    def hypervolumes(self) -> tuple[float, float]:
        """Areas over (retained, sparsity) and (retained, decades of density); NaN without a scale.

        The reference is sparsity 0 and the retained share of the better of random and constant action.
        """
        kept, floor = self.table["retained"].to_numpy(float), self.scale.retained_floor
        if math.isnan(floor):
            return math.nan, math.nan
        sparsity = self.table["sparsity"].to_numpy(float)
        decades = log_density(sparsity, self.table["total_params"].to_numpy(float))
        areas = [hypervolume(np.column_stack([kept, x]), (floor, 0.0)) for x in (sparsity, decades)]
        return areas[0], areas[1]


def confirm(
    snapshots: Sequence[Snapshot],
    evaluations: Sequence[Evaluation],
    baselines: Mapping[str, Baseline],
    rng: np.random.Generator,
    metadata: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    candidates: Sequence[str] | None = None,
    unfinished: str = "",
    goal: GoalSettings = NO_GOAL,
) -> Front:
    """Builds the front from fresh episodes.

    Args:
        snapshots: Snapshots of the archive.
        evaluations: Episodes of snapshots and baselines on selection and report seeds.
        baselines: Baselines by name.
        rng: Random generator for the bootstrap draws.
        metadata: Metadata of each policy, by `snapshot_id` or baseline name.
        candidates: `snapshot_id` of all policies chosen for re-evaluation, or None if not chosen yet.
        unfinished: Status of a search that has not ended, such as "interrupted"; empty if it has.
        goal: Goal that the wanted policy must meet.

    Returns:
        The front. It is empty, and `notes` says why, if no snapshot has selection episodes or none is
        better than random and constant action.
    """
    selection, report = (usable(evaluations, purpose) for purpose in ("selection", "report"))
    notes = [
        f"{e.snapshot_id}: its {e.purpose} episodes hold no usable return; left out"
        for e in evaluations
        # A newer version may have evaluations with further purposes.
        if e.purpose in ("selection", "report") and not is_usable(e)
    ]
    chosen = choose(snapshots, evaluations, baselines, goal).to_dict("records")
    played = {e.snapshot_id for e in evaluations if e.purpose == "selection"}
    unplayed = [i for i in candidates or () if i not in played]
    if not chosen:
        notes.append(_why_none(candidates, unplayed))
    elif unplayed:
        notes.append(
            f"of {len(candidates or ())} policies that were to be re-evaluated, {len(unplayed)} have "
            "not been: the front lacks what they would add. Finish the search with prunefront resume DIR"
        )
    elif unfinished:
        notes.append(
            f"the search has not ended ({unfinished}): the front lacks what it found since its policies "
            "were re-evaluated. Finish it with prunefront resume DIR"
        )
    members = [row["snapshot_id"] for row in chosen if row["member"]]
    if chosen and not members:
        notes.append(
            "no re-evaluated policy is better than random and constant action: the front is empty"
        )
    wanted = [*members, *(name for name in baselines if name in selection)]
    lacking = [i for i in wanted if i not in report]
    purpose: Purpose = "selection" if lacking else "report"
    if lacking:
        notes.append(
            f"report episodes are missing ({len(lacking)} of {len(wanted)} policies), "
            "so figures come from the selection episodes, which favour the policies they chose"
        )
    figures = selection if lacking else report
    shown_scale, chosen_scale = (scale_from(e, baselines) for e in (figures, selection))
    notes += [shown_scale.note] if shown_scale.note else []
    known = [n for n in (*(row["snapshot_id"] for row in chosen), *baselines) if n in figures]
    means_of = resampled_means([figures[n] for n in known], rng).T
    resampled = dict(zip(known, means_of, strict=True))
    details = metadata or {}
    rows = [
        {
            **row,
            **episode_figures(row["snapshot_id"], figures, resampled, shown_scale),
            **{key: details.get(row["snapshot_id"], {}).get(key) for key in MEASURED},
            "figures": purpose,
        }
        for row in chosen
    ]
    frame = pd.DataFrame(rows, columns=[*FRONT_COLUMNS, "member"])
    frame = frame.astype(dict.fromkeys(("member", "knee", "goal", *KEEPS), bool))
    frame["optimism"] = frame["search_return"] - frame["return_mean"]
    frame["p_nondominated"] = _chances(frame, resampled, shown_scale)
    base = pd.DataFrame(
        [
            {
                **dataclasses.asdict(b),
                **episode_figures(name, figures, resampled, shown_scale),
                **{key: details.get(name, {}).get(key) for key in MEASURED},
            }
            for name, b in baselines.items()
        ],
        columns=list(BASELINE_COLUMNS),
    )
    front = frame.loc[frame["member"], list(FRONT_COLUMNS)].reset_index(drop=True)
    kept = {n: float(chosen_scale.retained(np.mean(e.returns))) for n, e in selection.items()}
    rivals = rivals_of(front.to_dict("records"), baselines, figures, resampled, kept)
    return Front(front, frame, base, shown_scale, purpose, tuple(notes), rivals)


def _why_none(candidates: Sequence[str] | None, unplayed: Sequence[str]) -> str:
    """Returns the reason why no policy has usable selection episodes."""
    if candidates is None or unplayed:
        return UNCONFIRMED
    if not candidates:
        return NOTHING_GOOD
    return (
        f"none of the {len(candidates)} re-evaluated policies returned a number in all of its selection "
        "episodes: the front is empty"
    )


def episode_figures(
    name: str, figures: Mapping[str, Evaluation], resampled: Mapping[str, Floats], scale: Scale
) -> dict[str, Any]:
    """Returns the mean return of one policy's episodes and its retained share, both with intervals."""
    if name not in figures:
        return {"episodes": 0, "return_note": "not evaluated on these seeds"}
    returns = figures[name].returns
    mean = float(np.mean(returns))
    low, high = interval(returns, resampled[name])
    kept_low, kept_high = math.nan, math.nan
    if not scale.note and math.isfinite(low) and {"random", "dense"} <= resampled.keys():
        random, dense = resampled["random"], resampled["dense"]
        share = (resampled[name] - random) / np.where(dense > random, dense - random, np.nan)
        kept_low, kept_high = np.nanquantile(share, [0.025, 0.975])
    return {
        "return_mean": mean,
        "return_ci_low": low,
        "return_ci_high": high,
        "episodes": len(returns),
        "retained": float(scale.retained(mean)),
        "retained_ci_low": float(kept_low),
        "retained_ci_high": float(kept_high),
        "return_note": no_interval_note(returns),
    }


def _chances(frame: pd.DataFrame, resampled: Mapping[str, Floats], scale: Scale) -> Floats:
    """Returns P(non-dominated) of each row among all re-evaluated policies; NaN without episodes."""
    chances = np.full(len(frame), np.nan)
    known = [i for i, name in enumerate(frame["snapshot_id"]) if name in resampled]
    if not known:
        return chances
    means = np.column_stack([resampled[frame["snapshot_id"].iloc[i]] for i in known])
    controls = [resampled[name] for name in ("random", "constant") if name in resampled]
    floor = np.max(controls, axis=0) if controls else np.full(len(means), scale.floor)
    sparsity = frame["sparsity"].to_numpy(float)[known]
    chances[known] = probability_nondominated(means, sparsity, floor)
    return chances
