"""An exported policy that acts in environments: where its inputs lie, what it carries, what it draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rllib_ext.export.numpy_loader import Policy, nested
from rllib_ext.export.operations import Array


class Actor:
    """An exported policy in several episodes at once, as `rllib_ext.evaluation.evaluator.Policy`.

    Args:
        policy: The export.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._states: list[dict[str, Array]] = []
        self._noise: list[np.random.Generator] = []

    def begin(self, seeds: Sequence[int]) -> None:
        """Begins an episode a seed; noise is drawn from it."""
        self._states = [self._policy.initial(1) for _ in seeds]
        self._noise = [np.random.default_rng([seed, 2]) for seed in seeds]

    def act(self, episodes: Sequence[int], observations: Any, rewards: Any) -> list[Any]:
        """Actions of the episodes that go on, nested as the environment's space."""
        found = self.outputs(episodes, observations)
        parts = [r for r in self._policy.description["results"] if r["path"] is not None]
        return [
            nested({tuple(p["path"]): np.asarray(found[p["name"]][row], p["dtype"]) for p in parts})
            for row in range(len(episodes))
        ]

    def outputs(self, episodes: Sequence[int], observations: Any) -> dict[str, Array]:
        """All that a decision gives, by name, a row an episode."""
        feeds = self.feeds(episodes, observations)
        names = [c["name"] for c in self._policy.description["carried"]]
        for name in names:
            feeds[name] = np.concatenate([self._states[i][name] for i in episodes])
        found = dict(self._policy.run(feeds))
        for name in names:
            after = found.pop(name).reshape(feeds[name].shape)
            for row, i in enumerate(episodes):
                self._states[i][name] = after[row : row + 1]
        shapes = {r["name"]: r["shape"] for r in self._policy.description["results"]}
        return {n: found[n].reshape(len(episodes), *shape) for n, shape in shapes.items()}

    def feeds(self, episodes: Sequence[int], observations: Any) -> dict[str, Array]:
        """Returns the inputs of a decision by name, a row per episode; draws the noise."""
        feeds: dict[str, Array] = {}
        for given in self._policy.description["given"]:
            rows = [
                self._drawn(i, given) if given["noise"] else _part(o, given["path"])
                for i, o in zip(episodes, observations, strict=True)
            ]
            shape = (len(rows), *given["shape"])
            feeds[given["name"]] = np.array(rows).astype(given["dtype"]).reshape(shape)
        return feeds

    def _drawn(self, episode: int, given: Mapping[str, Any]) -> Any:
        generator = self._noise[episode]
        if given["noise"] == "uniform":
            return generator.random(given["shape"], np.float32)
        return generator.standard_normal(given["shape"], np.float32)


def _part(observation: Any, path: Sequence[Any]) -> Any:
    for key in path:
        observation = observation[key]
    return observation
