"""Plans the baselines that are trained once the front is known. Imports neither Ray nor torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from rllib_ext.member.segment import DENSE, Segment
from rllib_ext.pruning.config import PruningConfig
from search.config.baseline_kinds import KINDS, Kind
from search.config.experiment import ExperimentConfig
from search.config.seeds import draw
from search.front.pareto import log_density
from search.population.plain_sizes import PlainSizes
from search.store.archive import Baseline

# Where in its horizon a network that is trained once is pruned: half of it trains, half retrains.
PRUNED_AT = 0.5
# Baselines of a kind that members' numbers leave room for.
ROOM = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned:
    """A baseline that is to be trained.

    Attributes:
        name: Name of the baseline in the archive, such as "random_masks-45".
        kind: Kind of baseline.
        description: One line for the report.
        weights: Its weights; of a tree, the numbers that it holds.
        level: `snapshot_id` of that point.
        segment: Segment that it trains.
    """

    name: str
    kind: Kind
    description: str
    weights: int
    level: str
    segment: Segment


def plan_baselines(
    config: ExperimentConfig,
    front: pd.DataFrame,
    known: Mapping[str, Baseline],
    plain: PlainSizes,
    left_out: Collection[str] = (),
) -> list[Planned]:
    """Returns the baselines still to be trained, no size twice of a kind.

    Args:
        config: The experiment; sets the number of each kind.
        front: The front's table.
        known: Baselines that are there, by name; they count.
        plain: Possible sizes of plain policies; kinds that it refuses are left out.
        left_out: Names of baselines that were given up; they count as done.
    """
    planned = []
    for position, kind in enumerate(KINDS):
        done = [b for b in known.values() if b.kind == kind]
        gone = {name for name in left_out if name.startswith(f"{kind}-")}
        begun = len(done) + len(gone)
        wanted = getattr(config.baselines, kind) - begun
        if wanted <= 0 or kind in plain.refused:
            continue
        sized = front.assign(size=[plain.size(kind, int(n)) for n in front["nonzero_params"]])
        new = [
            f"{kind}-{size}" not in known.keys() | gone and level not in {b.level for b in done}
            for size, level in zip(sized["size"], sized["snapshot_id"], strict=True)
        ]
        # An empty list would choose columns.
        free = _each_size_once(sized.loc[np.array(new, dtype=bool)])
        for i, row in enumerate(levels(free, wanted)):
            number = position * ROOM + begun + i
            planned.append(_planned(config, kind, number, row))
    return planned


def _each_size_once(sized: pd.DataFrame) -> pd.DataFrame:
    """Keeps one of the points that are compared with the same baseline: a pick, or else the sparsest."""
    by_worth = sized.sort_values(
        ["keeps_95", "knee", "nonzero_params"], ascending=[False, False, True], kind="stable"
    )
    return by_worth.drop_duplicates("size").sort_index()


def levels(front: pd.DataFrame, count: int) -> list[dict[str, object]]:
    """Points of the front that are worth a comparison, the most telling first.

    First what a reader would ship – what meets the goal, the sparsest policy that keeps 95 % of the
    dense one, then the knee – then whatever lies farthest, in decades of density, from what is taken.

    Args:
        front: The front's table.
        count: At most so many.
    """
    rows = front.to_dict("records")
    decades = log_density(front["sparsity"], front["total_params"])
    taken: list[int] = []
    for pick in ("goal", "keeps_95", "knee"):
        taken += [i for i, row in enumerate(rows) if row[pick] and i not in taken]
    if rows and not taken:
        taken = [len(rows) - 1]
    while taken and len(taken) < min(count, len(rows)):
        apart = np.abs(decades[:, None] - decades[taken][None]).min(axis=1)
        apart[taken] = -1.0
        taken.append(int(np.argmax(apart)))
    return [{str(k): v for k, v in rows[i].items()} for i in taken[:count]]


def _planned(
    config: ExperimentConfig, kind: Kind, number: int, row: Mapping[str, object]
) -> Planned:
    weights, sparsity = int(str(row["size"])), float(str(row["sparsity"]))
    member = DENSE - 1 - number
    segment = Segment(
        member=member,
        segment=0,
        trial_number=-1,
        seed=draw(config.seed, "training", 1, ROOM * ROOM + number)[0],
        pruning=_pruning(config, kind, sparsity).to_dict(),
        training={},
        until_env_steps=config.horizon,
        evaluation_seeds=draw(config.seed, "search", config.evaluation.episodes, DENSE),
    )
    return Planned(
        name=f"{kind}-{weights}",
        kind=kind,
        description=_description(kind, weights),
        weights=weights,
        level=str(row["snapshot_id"]),
        segment=segment,
    )


def _pruning(config: ExperimentConfig, kind: Kind, sparsity: float) -> PruningConfig:
    own = config.pruning.replace(horizon=config.horizon, threshold=None)
    if kind in ("small_dense", "linear", "tree"):
        return PruningConfig(horizon=config.horizon, final_sparsity=0.0, schedule="linear")
    if kind == "random_masks":
        # Uniformly random masks of few weights hardly ever lead from an observation to an action; the
        # densities of Erdős–Rényi-kernel are the stronger control.
        return PruningConfig(
            horizon=config.horizon,
            final_sparsity=sparsity,
            critic_final_sparsity=own.critic_final_sparsity,
            criterion="random",
            scope="erk",
            schedule="constant",
            exclude=own.exclude,
        )
    return own.replace(
        final_sparsity=sparsity,
        schedule="one_shot",
        begin=PRUNED_AT,
        end=PRUNED_AT,
        rewind_to=None,
        regrow=None,
        start="dense",
    )


def _description(kind: Kind, weights: int) -> str:
    return {
        "random_masks": f"{weights:,} weights chosen at random before training, at the densities of "
        "Erdős–Rényi-kernel",
        "small_dense": f"a dense network of {weights:,} weights from the start, with the critic of a "
        "large one",
        "train_then_prune": f"trained dense for half of the horizon, pruned at once to {weights:,} "
        "weights, trained on",
        "linear": f"actions linear in the observation, {weights:,} weights: fitted to the dense policy, "
        "then trained",
        "tree": f"a tree of thresholds that holds {weights:,} numbers, fitted to the dense policy",
    }[kind]
