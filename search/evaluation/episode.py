"""Films an episode of the picked policy for the report, in a separate process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import GetTimeoutError, RayError
from ray.rllib.algorithms.ppo import PPOConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rllib_ext.base.aside import write_aside
from rllib_ext.evaluation.film import Film, NoFilmError, film
from rllib_ext.policy.store import add_metadata, load_policy
from search.cluster.failure import reason_of
from search.front.results import Results
from search.store.folder import FILM, FILM_NOTE, MOVING, STILL

# Longest time that filming may delay a report.
SECONDS = 30.0


def film_the_pick(results: Results, ppo: PPOConfig, phase: Callable[[str], None]) -> None:
    """Films an episode of the policy that the report picks, unless there is a film already.

    The report episode whose return is nearest to the median is played again. If it can't be filmed, the
    reason is recorded in the policy's metadata. Needs a connection to Ray.

    Args:
        results: Results of a search whose candidates are evaluated; the film is written to the policy's
            folder.
        ppo: PPO configuration that defines the environment.
        phase: Called with a description of the work if an episode is played.
    """
    points = results.points
    pick = results.pick
    row = points.loc[points[pick].astype(bool)].iloc[0] if pick else None
    if row is None or not row["policy"]:
        return
    folder = results.folder / str(row["policy"])
    if (folder / MOVING).is_file():
        return
    episodes = [e for e in results.evaluations if e.snapshot_id == row["snapshot_id"]]
    played = next((e for e in episodes if e.purpose == "report"), None)
    if played is None or not played.returns:
        return
    returns = np.asarray(played.returns)
    phase("playing an episode of the picked policy for the report, filmed where it can be drawn")
    typical = int(np.argmin(np.abs(returns - np.median(returns))))
    found = _filmed_apart(ppo, folder, played.seeds[typical], played.lengths[typical])
    if isinstance(found, str):
        add_metadata(folder, {FILM_NOTE: found})
        return
    write_aside(folder / STILL, lambda aside: aside.write_bytes(found.still))
    write_aside(folder / MOVING, lambda aside: aside.write_bytes(found.moving))
    told = dataclasses.asdict(found)
    add_metadata(
        folder,
        {FILM: {k: v for k, v in told.items() if k not in ("moving", "still")}, FILM_NOTE: ""},
    )


def _filmed_apart(ppo: PPOConfig, folder: Path, seed: int, length: int) -> Film | str:
    """Returns the film, or the reason why there is none; rendering may crash its process or hang."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    task: Any = ray.remote(_filmed).options(
        num_cpus=1, max_retries=0, scheduling_strategy=here, name="filming an episode"
    )
    reference = task.remote(ppo, folder, seed, length)
    try:
        found: Film | str = ray.get(reference, timeout=SECONDS)
    except GetTimeoutError:
        ray.cancel(reference, force=True)
        return f"an episode was not filmed within {SECONDS:.0f} seconds"
    except RayError as error:
        return f"rendering failed: {reason_of(str(error))}"
    return found


def _filmed(ppo: PPOConfig, folder: Path, seed: int, length: int) -> Film | str:
    torch.set_num_threads(1)
    try:
        return film(load_policy(folder), ppo, seed, length)
    except NoFilmError as error:
        return str(error)
