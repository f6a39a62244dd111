"""The front under shift: returns of policies in environments that differ from the training environment.

`shifts.jsonl` contains the episodes, one line per policy and shift; `shift.csv` is the table made from
them. Imports neither Ray nor torch.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rllib_ext.envs.shift import UNSHIFTED, Shift
from search.front.confirmed_front import Front, episode_figures
from search.front.intervals import resampled_means
from search.front.retained import scale_of
from search.store.archive import Evaluation, Record
from search.store.lines import append_lines, read_lines

FILE = "shifts.jsonl"
SHIFT_COLUMNS = (
    "shift",
    "policy",
    "sparsity",
    "nonzero_params",
    "episodes",
    "return_mean",
    "return_ci_low",
    "return_ci_high",
    "retained",
    "retained_ci_low",
    "retained_ci_high",
    "return_note",
    "settings",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShiftedEpisodes(Record):
    """Episodes of one policy under one shift, one per seed.

    Attributes:
        shift: Label of the shift, such as "gravity = 15"; "none" if only the seeds differ.
        settings: The shift as plain values.
        policy: Snapshot's id or baseline's name.
        seeds: Seed of each episode.
        returns: Return of each episode.
        lengths: Env steps of each episode.
    """

    shift: str
    settings: dict[str, Any]
    policy: str
    seeds: list[int]
    returns: list[float]
    lengths: list[int]


@dataclasses.dataclass(frozen=True)
class PolicyScore:
    """The evaluation result of a single policy.

    Attributes:
        figures: Figures by column of `shift.csv`: "return_mean", "return_ci_low", "retained", ….
        against: The scale of `retained` in words, or the reason why it is unknown.
    """

    figures: dict[str, Any]
    against: str


def read_shifted(folder: Path) -> list[ShiftedEpisodes]:
    """Returns all episodes under shift; the last of several of one policy and shift count.

    Args:
        folder: The results folder.
    """
    found = (ShiftedEpisodes.from_json(values) for values in read_lines(folder / FILE))
    return list({(r.shift, r.policy): r for r in found}.values())


def add_shifted(folder: Path, record: ShiftedEpisodes) -> None:
    """Appends the episodes of one policy under one shift."""
    append_lines(folder / FILE, [dataclasses.asdict(record)])


def generalisation(
    records: Iterable[ShiftedEpisodes],
    sizes: Mapping[str, tuple[float, int]],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Returns one row per shift and policy, columns `SHIFT_COLUMNS`.

    `retained` is measured under the shift: 0 is the random policy there, 1 the dense policy there.
    Intervals are paired by seed.

    Args:
        records: Episodes under shift.
        sizes: Sparsity and non-zero weights of each policy of the table, in the table's order; records
            of other policies are left out.
        rng: Random generator for the bootstrap draws.
    """
    shifts: dict[str, list[ShiftedEpisodes]] = {}
    for record in records:
        if record.policy in sizes and record.returns and np.isfinite(record.returns).all():
            shifts.setdefault(record.shift, []).append(record)
    rows: list[dict[str, Any]] = []
    for shift, own in shifts.items():
        episodes = {record.policy: _evaluation(record) for record in own}
        means = resampled_means(list(episodes.values()), rng).T
        resampled = dict(zip(episodes, means, strict=True))
        scale = scale_of(*(_returns(episodes, name) for name in ("random", "dense")))
        settings = json.dumps(own[-1].settings)
        for policy in sorted(episodes, key=list(sizes).index):
            sparsity, weights = sizes[policy]
            rows.append(
                {
                    "shift": shift,
                    "policy": policy,
                    "sparsity": sparsity,
                    "nonzero_params": weights if math.isfinite(sparsity) else None,
                    **episode_figures(policy, episodes, resampled, scale),
                    "settings": settings,
                }
            )
    return pd.DataFrame(rows, columns=list(SHIFT_COLUMNS))


def generalisation_of(folder: Path, front: Front, rng: np.random.Generator) -> pd.DataFrame:
    """Returns the generalisation table of a search, for its baselines and its front, the densest first.

    Args:
        folder: The results folder.
        front: Front of the search.
        rng: Random generator for the bootstrap draws.
    """
    columns = ("sparsity", "nonzero_params")
    baselines, points = front.baselines.set_index("name"), front.table.set_index("snapshot_id")
    joined = pd.concat([baselines[list(columns)], points[list(columns)]])
    # Policies without a network come last.
    joined = joined.sort_values("sparsity", kind="stable", na_position="last")
    rows = zip(joined.index, joined["sparsity"], joined["nonzero_params"], strict=True)
    sizes = {str(name): (float(sparsity), int(weights)) for name, sparsity, weights in rows}
    return generalisation(read_shifted(folder), sizes, rng)


def labelled(shift: Shift, env: str | None) -> str:
    """Returns the label under which episodes of a shift are recorded.

    Args:
        shift: The shift.
        env: Name of the environment, or None for the search's own.
    """
    if env is None:
        return shift.label
    return f"in {env}" if shift.label == UNSHIFTED else f"{shift.label}, in {env}"


def known_episodes(
    records: Iterable[ShiftedEpisodes], seeds: Sequence[int]
) -> set[tuple[str, str]]:
    """Returns the pairs of shift and policy that have episodes on exactly these seeds."""
    return {(r.shift, r.policy) for r in records if tuple(r.seeds) == tuple(seeds)}


def _evaluation(record: ShiftedEpisodes) -> Evaluation:
    return Evaluation(
        snapshot_id=record.policy,
        purpose="report",
        seeds=record.seeds,
        returns=record.returns,
        lengths=record.lengths,
    )


def _returns(episodes: Mapping[str, Evaluation], name: str) -> list[float]:
    return episodes[name].returns if name in episodes else []
