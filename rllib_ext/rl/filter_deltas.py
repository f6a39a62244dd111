"""Corrects what the filters of remote EnvRunners report as new since RLlib last merged them.

RLlib merges the statistics of its `MeanStdFilter` over EnvRunners by what is new in each. Ray 2.60
computes that wrongly (`RunningStat.push` in ray/rllib/utils/filter.py): as the mean of the new
observations it takes the sum of the steps by which they moved the mean of all observations. From
iteration to iteration means drift to 0 and deviations grow, until nothing is normalised. The filter's
own buffer of new observations is correct.
"""

from __future__ import annotations

from typing import Any

import tree
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.utils.filter import RunningStat


class FilterDeltas:
    """Corrects, sample by sample, what the filters of one EnvRunner report as new."""

    def __init__(self) -> None:
        # By position: a statistic, and what it has seen since RLlib set it.
        self._known: dict[Any, tuple[RunningStat, RunningStat]] = {}

    def correct(self, env_to_module: Any) -> None:
        """Corrects the filters after a sample, before RLlib reads their state.

        Args:
            env_to_module: The EnvRunner's env-to-module connector pipeline.
        """
        for place, connector in enumerate(env_to_module.connectors):
            if not isinstance(connector, MeanStdFilter) or connector._filters is None:
                continue
            for agent, found in connector._filters.items():
                statistics = tree.flatten(found.running_stats)
                sampled = tree.flatten(found.buffer)
                for part, (statistic, new) in enumerate(zip(statistics, sampled, strict=True)):
                    self._correct((place, agent, part), statistic, new)
                found.reset_buffer()

    def _correct(self, key: Any, statistic: RunningStat, new: RunningStat) -> None:
        known, before = self._known.get(key, (None, None))
        # Setting a filter's state replaces its statistics by new objects.
        seen = before if before is not None and known is statistic else RunningStat(new.shape)
        seen.update(new)
        self._known[key] = statistic, seen
        statistic.num_pushes_delta = seen.num_pushes
        statistic.mean_delta_array = seen.mean_array.copy()
        statistic.sum_sq_diff_delta_array = seen.sum_sq_diff_array.copy()
