"""The charts' data as tables: thinned for long searches, with hover texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from search.front.confirmed_front import AS_EXPORTED
from search.front.format import marks, number, recipe, schedule_text, span
from search.front.lineage import ancestors
from search.front.results import Results
from search.front.segment_gains import pruning_of
from search.front.thinned import CURVE, thinned
from search.report.exported import as_exported
from search.report.provisional import search_front
from search.store.archive import Snapshot

# More points than this are no clearer and make the page heavy.
CLOUD = 1500
COPIES = 500
SEGMENTS = 1500
# Ancestors that a hover text names.
GENERATIONS = 6


def candidate_points(results: Results) -> pd.DataFrame:
    """Re-evaluated policies with hover texts; `marks` says what a point is picked as."""
    table = results.confirmed.candidates.copy()
    by_id = {s.snapshot_id: s for s in results.records}
    known = [by_id[name] for name in table["snapshot_id"]]
    table["weights"] = table["nonzero_params"].clip(lower=1)
    rows = table.to_dict("records")
    table["marks"] = [marks(row) for row in rows]
    table["picked"] = table["marks"].replace("", "–")
    table["score"] = [
        f"{number(row['return_mean'])} ({_interval(row) or row['return_note']})" for row in rows
    ]
    table["hyperparameters"] = [recipe(s.hyperparameters) for s in known]
    table["lineage"] = [_lineage(s, by_id) for s in known]
    exported = [as_exported(row) for row in rows]
    if any(exported):
        table["exported"] = [told or "not measured" for told in exported]
    return table.drop(columns=["macs", "latency_us", "shrunk_params", "policy", *AS_EXPORTED])


def _interval(row: Mapping[Any, Any]) -> str:
    return span(row["return_ci_low"], row["return_ci_high"])


def _lineage(snapshot: Snapshot, by_id: Mapping[str, Snapshot]) -> str:
    chain = [snapshot.snapshot_id, *ancestors(snapshot, by_id)]
    more = f" ← {len(chain) - GENERATIONS} more" if len(chain) > GENERATIONS else ""
    return " ← ".join(chain[:GENERATIONS]) + more


def cloud_points(results: Results) -> tuple[pd.DataFrame, int]:
    """The search's own scores, thinned, and how many there are in all.

    What was re-evaluated and what is on the search front stays; of the rest an even share.
    """
    usable = [s for s in results.records if s.usable]
    rated = set(results.confirmed.candidates["snapshot_id"])
    rated |= {s.snapshot_id for s in search_front(results)}
    kept = sorted(
        {i for i, s in enumerate(usable) if s.snapshot_id in rated}
        | set(thinned(len(usable), CLOUD))
    )
    table = pd.DataFrame(
        [
            {
                "snapshot_id": s.snapshot_id,
                "search_return": s.return_mean,
                "sparsity": s.sparsity,
                "weights": max(1, s.nonzero_params),
                "status": s.status,
                "env_steps": s.env_steps,
                "hyperparameters": recipe(s.hyperparameters),
                "parent": s.parent or "none",
            }
            for s in (usable[i] for i in kept)
        ],
        columns=[
            "snapshot_id", "search_return", "sparsity", "weights", "status", "env_steps",
            "hyperparameters", "parent",
        ],
    )  # fmt: skip
    return table, len(usable)


def training_points(results: Results) -> pd.DataFrame:
    """Each member's snapshots; `donor` is set where a segment started from another member's state.

    A `strand` is what one line may join: it ends where the member's clock was set back.
    """
    by_id = {s.snapshot_id: s for s in results.records}
    fixed = pruning_of(results.config)
    seen: set[tuple[int, int]] = set()
    clock: dict[int, int] = {}
    strand: dict[int, int] = {}
    rows = []
    for s in results.records:
        first = (s.member, s.segment) not in seen
        seen.add((s.member, s.segment))
        donor = by_id.get(s.parent)
        is_copy = first and donor is not None and donor.member != s.member
        if s.env_steps <= clock.get(s.member, -1):
            strand[s.member] = strand.get(s.member, 0) + 1
        clock[s.member] = s.env_steps
        rows.append(
            {
                "snapshot_id": s.snapshot_id,
                "member": s.member,
                "segment": s.segment,
                "env_steps": s.env_steps,
                "return_mean": s.return_mean if s.usable else np.nan,
                "sparsity": s.sparsity,
                "density": _density(s),
                "donor": s.parent if is_copy else "",
                "strand": f"{s.member}.{strand.get(s.member, 0)}",
                "schedule": schedule_text({**fixed, **s.hyperparameters}),
            }
        )
    table = pd.DataFrame(rows)
    copied = np.flatnonzero(table["donor"] != "")
    kept = {*thinned(len(table), CURVE), *copied[thinned(len(copied), COPIES)]}
    return table.iloc[sorted(kept)]


def lineage_points(results: Results) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The family tree: one row a segment, and one row a copy from another member."""
    by_id = {s.snapshot_id: s for s in results.records}
    segments: dict[tuple[int, int], list[Snapshot]] = {}
    for s in results.records:
        segments.setdefault((s.member, s.segment), []).append(s)
    front = {name: by_id[name] for name in results.confirmed.table["snapshot_id"]}
    fathers = {
        (by_id[a].member, by_id[a].segment)
        for s in front.values()
        for a in (s.snapshot_id, *ancestors(s, by_id))
        if a in by_id
    }
    others = [key for key in segments if key not in fathers]
    room = max(0, SEGMENTS - len(fathers))
    shown = fathers | {others[i] for i in thinned(len(others), room)}
    bars, copies = [], []
    for (member, segment), own in segments.items():
        if (member, segment) not in shown:
            continue
        last, parent = own[-1], by_id.get(own[0].parent)
        start = parent.env_steps if parent else 0
        bars.append(
            {
                "member": member,
                "segment": segment,
                "start": start,
                "stop": last.env_steps,
                "sparsity": last.sparsity,
                "density": _density(last),
                "return_mean": last.return_mean,
                "leads": (member, segment) in fathers,
                "hyperparameters": recipe(last.hyperparameters),
            }
        )
        if parent and parent.member != member:
            copies.append(
                {
                    "start": start,
                    "from": parent.member,
                    "to": member,
                    "donor": parent.snapshot_id,
                    "leads": (member, segment) in fathers,
                }
            )
    return pd.DataFrame(bars), pd.DataFrame(
        copies, columns=["start", "from", "to", "donor", "leads"]
    )


def _density(snapshot: Snapshot) -> float:
    """For logarithmic axes: at least one weight."""
    return max(1 - snapshot.sparsity, 1 / max(1, snapshot.total_params))
