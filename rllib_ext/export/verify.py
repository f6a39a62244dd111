"""An export held against its policy: on the policy's own observations, then in the environment."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from ray.rllib.core.columns import Columns

from rllib_ext.evaluation.evaluator import Episodes, Evaluator
from rllib_ext.export.actor import Actor
from rllib_ext.export.errors import MismatchError
from rllib_ext.export.numpy_loader import Policy
from rllib_ext.export.operations import Array
from rllib_ext.export.trace import leaves
from rllib_ext.policy.acting import ConnectorPolicy
from rllib_ext.policy.store import PolicyParts

# Largest difference of an output ÷ its largest magnitude over all observations.
TOLERANCE = 1e-5
OBSERVATIONS = 1000
# Larger outputs say "never", as in logits of actions that are not allowed; they set no scale.
_LARGEST = 1e30
# Returns that differ by less count as equal: a share of the return, or this much.
_EQUAL = 1e-4


@dataclasses.dataclass(frozen=True)
class Recording:
    """Recorded observations and actions of a policy.

    Attributes:
        observations: Each episode's, step by step, as the environment gave them.
        actions: Actions given to the environment: for each part of an action and each episode an array
            with a row per step.
        outputs: The distribution's parameters alike, (steps, parameters); None where a module has none.
        episodes: Returns and lengths of all episodes.
    """

    observations: list[list[Any]]
    actions: dict[tuple[Any, ...], list[Array]]
    outputs: list[Array] | None
    episodes: Episodes

    @property
    def count(self) -> int:
        """Number of observations."""
        return sum(map(len, self.observations))


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The agreement between an export and its policy over recorded observations.

    Attributes:
        observations: Number of compared observations.
        difference: Largest difference ÷ largest magnitude, over all real outputs.
        ties: Discrete actions that differ where the policy has no preference.
        others: Discrete actions that differ otherwise.
    """

    observations: int
    difference: float
    ties: int
    others: int


class _Recorder:
    """A policy that notes what it sees and does."""

    def __init__(self, policy: ConnectorPolicy) -> None:
        self._policy = policy
        self.steps: list[list[tuple[Any, Any, Any]]] = []
        self._inputs: Any = None
        compute = policy._outputs

        def noted(batch: Any, episodes: Any) -> Any:
            outputs = compute(batch, episodes)
            found = outputs.get(Columns.ACTION_DIST_INPUTS)
            # Distributions may work on them in place, as one of RLlib's examples does.
            self._inputs = None if found is None else found.clone().numpy()
            return outputs

        # An attribute of the instance goes before the method of its class.
        vars(policy)["_outputs"] = noted

    def begin(self, seeds: Sequence[int]) -> None:
        self._policy.begin(seeds)
        self.steps = [[] for _ in seeds]

    def act(self, episodes: Sequence[int], observations: Any, rewards: Any) -> Any:
        actions = self._policy.act(episodes, observations, rewards)
        inputs = [None] * len(episodes) if self._inputs is None else self._inputs
        for i, *step in zip(episodes, observations, actions, inputs, strict=True):
            self.steps[i].append((step[0], step[1], step[2]))
        return actions


def record(
    parts: PolicyParts, evaluator: Evaluator, seeds: Iterable[int], least: int = OBSERVATIONS
) -> Recording:
    """Lets a policy play, and notes everything.

    Args:
        parts: The policy as RLlib has it, with all of its weights.
        evaluator: Plays episodes of its environment.
        seeds: One episode each; more follow where these are too short.
        least: Observations.
    """
    policy = dataclasses.replace(parts, through_connectors=True).policy()
    recorder = _Recorder(policy)  # type: ignore[arg-type]
    seeds = list(seeds)
    played = evaluator.run(recorder, seeds)
    steps = recorder.steps
    more = itertools.count(max(seeds) + 1)
    while sum(map(len, steps)) < least:
        evaluator.run(recorder, [next(more) for _ in seeds])
        steps = steps + recorder.steps
    actions: dict[tuple[Any, ...], list[Array]] = {}
    for episode in steps:
        rows = [dict(leaves(action)) for _, action, _ in episode]
        for path in rows[0]:
            actions.setdefault(path, []).append(np.array([row[path] for row in rows]))
    outputs = None
    if all(o is not None for episode in steps for _, _, o in episode):
        outputs = [np.array([np.ravel(o) for _, _, o in episode]) for episode in steps]
    return Recording([[o for o, _, _ in e] for e in steps], actions, outputs, played)


def compare(recording: Recording, policy: Policy, space: gymnasium.Space[Any]) -> Agreement:
    """Compares an export with its policy on the recorded observations.

    Args:
        recording: Recorded observations and actions of the policy.
        policy: The export, not stochastic.
        space: The action space.

    Returns:
        How far it agrees.
    """
    found = _replayed(recording, policy)
    results = policy.description["results"]
    worst = 0.0
    parameters = [r["name"] for r in results if r["path"] is None]
    close = [np.ones(len(e), bool) for e in recording.observations]
    if recording.outputs is not None and parameters:
        got = [np.concatenate([e[name] for name in parameters], 1) for e in found]
        worst, close = _difference(recording.outputs, got)
    ties = others = 0
    for result in results:
        if result["path"] is None:
            continue
        expected = recording.actions[tuple(result["path"])]
        got = [e[result["name"]].reshape(w.shape) for e, w in zip(found, expected, strict=True)]
        if np.issubdtype(expected[0].dtype, np.floating):
            worst = max(worst, _difference(expected, got)[0])
            continue
        for number, (want, have) in enumerate(zip(expected, got, strict=True)):
            differ = (want != have).reshape(len(want), -1).any(1)
            tied = differ & close[number]
            if recording.outputs is None or parameters != ["logits"]:
                tied[:] = False
            elif tied.any():
                tied &= _undecided(recording.outputs[number], space)
            ties += int(tied.sum())
            others += int((differ & ~tied).sum())
    return Agreement(recording.count, worst, ties, others)


def require(recording: Recording, policy: Policy, agreement: Agreement) -> None:
    """Refuses an export that does something else.

    Raises:
        MismatchError: With the first observation that gives something else.
    """
    if agreement.difference <= TOLERANCE and not agreement.others:
        return
    text = _first(recording, policy)
    raise MismatchError(
        f"the exported policy does not do what the policy does: its outputs differ by up to "
        f"{agreement.difference:.1e} of their largest value (allowed: {TOLERANCE:.0e}), and "
        f"{agreement.others} of {agreement.observations} discrete actions are others. {text}Nothing was "
        "written. Take another --format, and please report this."
    )


def require_chaos(apart: Mapping[str, Any], observations: int, discrete: bool) -> None:
    """Refuses returns that differ by more than chance.

    Continuous actions that agree to rounding can still part ways in closed loop.

    Args:
        apart: Difference as returned by `difference_of`.
        observations: On how many the outputs agree.
        discrete: Whether actions are: then not even chance may differ.

    Raises:
        MismatchError: They differ.
    """
    if not discrete and apart["low"] <= 0.0 <= apart["high"]:
        return
    raise MismatchError(
        f"on the same seeds the exported policy's returns differ by {apart['mean']:+.4g} on average "
        f"(95 % interval {apart['low']:+.4g} to {apart['high']:+.4g}), although its outputs agree on "
        f"{observations:,} observations. Does the environment depend on more than its seed and the "
        "actions? Nothing was written."
    )


def play(policy: Policy, evaluator: Evaluator, seeds: Sequence[int]) -> Episodes:
    """Lets an export act in the environment, one episode a seed."""
    return evaluator.run(Actor(policy), seeds)


def difference_of(expected: Episodes, found: Episodes) -> dict[str, Any]:
    """Paired differences of returns: mean, 95 % interval, and whether they count as equal."""
    a, b = np.array(expected.returns), np.array(found.returns)
    apart = b - a
    error = float(apart.std(ddof=1) / math.sqrt(len(apart))) if len(apart) > 1 else 0.0
    allowed = _EQUAL * np.maximum(1.0, np.abs(a))
    return {
        "episodes": len(apart),
        "mean": float(apart.mean()),
        "low": float(apart.mean() - 1.96 * error),
        "high": float(apart.mean() + 1.96 * error),
        "largest": float(np.abs(apart).max()),
        "equal": bool((np.abs(apart) <= allowed).all()),
    }


def _replayed(recording: Recording, policy: Policy) -> list[dict[str, Array]]:
    """Returns the export's results for all recorded observations: by name, a row per step."""
    actor = Actor(policy)
    actor.begin(range(len(recording.observations)))
    rows: list[list[dict[str, Array]]] = [[] for _ in recording.observations]
    for step in itertools.count():
        active = [i for i, e in enumerate(recording.observations) if step < len(e)]
        if not active:
            break
        found = actor.outputs(active, [recording.observations[i][step] for i in active])
        for row, i in enumerate(active):
            rows[i].append({name: values[row] for name, values in found.items()})
    return [
        {
            name: np.array([step[name] for step in episode]).reshape(len(episode), -1)
            for name in episode[0]
        }
        for episode in rows
    ]


def _difference(
    expected: Sequence[Array], found: Sequence[Array]
) -> tuple[float, list[np.ndarray[Any, np.dtype[np.bool_]]]]:
    """The largest relative difference, and for each episode the steps where it is allowed."""
    sizes = [np.abs(e.astype(np.float64)) for e in expected]
    scale = max((float(s[s <= _LARGEST].max(initial=0.0)) for s in sizes), default=0.0)
    scale = max(scale, 1e-12)
    worst = 0.0
    close: list[np.ndarray[Any, np.dtype[np.bool_]]] = []
    for want, have in zip(expected, found, strict=True):
        apart = np.abs(want.astype(np.float64) - have.astype(np.float64)) / scale
        apart[(np.abs(want) > _LARGEST) & (np.abs(have) > _LARGEST / 1e3)] = 0.0
        apart = np.where(np.isnan(apart), np.inf, apart).reshape(len(want), -1)
        worst = max(worst, float(apart.max(initial=0.0)))
        close.append(np.asarray((apart <= TOLERANCE).all(1)))
    return worst, close


def _undecided(logits: Array, space: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Returns where the two best choices are equal within the tolerance."""
    sizes = (
        [int(space.n)] if isinstance(space, gymnasium.spaces.Discrete) else
        [int(n) for n in space.nvec.ravel()]
    )  # fmt: skip
    scale = float(np.abs(logits[np.abs(logits) <= _LARGEST]).max(initial=1e-12))
    tied = np.zeros(len(logits), bool)
    for part in np.split(logits, np.cumsum(sizes)[:-1], axis=1):
        best = np.sort(part, axis=1)
        if part.shape[1] > 1:
            tied |= best[:, -1] - best[:, -2] <= 2 * TOLERANCE * scale
    return tied


def _first(recording: Recording, policy: Policy) -> str:
    """The first observation that gives something else, in words."""
    found = _replayed(recording, policy)
    parameters = [r["name"] for r in policy.description["results"] if r["path"] is None]
    for number, observations in enumerate(recording.observations):
        for step, observation in enumerate(observations):
            pairs = []
            if recording.outputs is not None and parameters:
                got = np.concatenate([found[number][name][step] for name in parameters])
                pairs.append(("outputs", recording.outputs[number][step], got))
            for result in policy.description["results"]:
                if result["path"] is not None:
                    want = recording.actions[tuple(result["path"])][number][step]
                    pairs.append((result["name"], want, found[number][result["name"]][step]))
            for name, want, have in pairs:
                if not np.allclose(np.ravel(want), np.ravel(have), rtol=1e-4, atol=1e-5):
                    return (
                        f"First at step {step} of episode {number}: of the observation "
                        f"{_short(observation)} it gives {name} {_short(have)}, expected "
                        f"{_short(want)}. "
                    )
    return ""


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 200 else text[:197] + "…"
