"""The growth of a search's hypervolume with every snapshot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from search.front.pareto import hypervolume_history, log_density
from search.front.retained import Scale
from search.front.thinned import CURVE, thinned
from search.store.archive import Snapshot
from search.store.tables import env_steps_done


def running_hypervolume(records: Sequence[Snapshot], scale: Scale) -> pd.DataFrame:
    """Returns the hypervolume of the search scores after each snapshot.

    Args:
        records: Snapshots in the order they were made.
        scale: Scale of `retained`; the better of random and constant action is the reference.

    Returns:
        One row per snapshot: "env_steps" of all members and "minutes" until then, and the hypervolumes
        "over_sparsity" and "over_decades" of density.
    """
    scores = [s.return_mean if s.usable and s.status == "ok" else np.nan for s in records]
    kept = scale.retained(np.array(scores, dtype=np.float64))
    sparsity = np.array([s.sparsity for s in records])
    decades = log_density(sparsity, [s.total_params for s in records])
    reference = (scale.retained_floor, 0.0)
    return pd.DataFrame(
        {
            "env_steps": env_steps_done(records),
            "minutes": np.maximum.accumulate([s.wall_time for s in records]) / 60,
            "over_sparsity": hypervolume_history(np.column_stack([kept, sparsity]), reference),
            "over_decades": hypervolume_history(np.column_stack([kept, decades]), reference),
        }
    )


def hypervolume_points(records: Sequence[Snapshot], scale: Scale) -> pd.DataFrame:
    """Returns the rows of `running_hypervolume` where it changed, and the last; thinned for plots."""
    table = running_hypervolume(records, scale)
    changed = table[["over_sparsity", "over_decades"]].diff().ne(0).any(axis=1)
    changed.iloc[-1] = True
    table = table[changed]
    return table.iloc[thinned(len(table), CURVE)]
