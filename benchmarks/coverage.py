"""Checks a report's statistics on searches with a known truth: `make bench NAME=coverage`.

A simulated search has policies whose true mean returns are known and fall with sparsity. Each policy is
scored in a few episodes, candidates are re-evaluated on selection and report seeds as in a search, and
the front is confirmed by the code that makes every report. Episodes' returns are normal, skewed
(exponential) or capped as in CartPole; an easy seed is easy for all policies. For each kind of return
the table shows how often the 95 % intervals of front points contain the truth, the error of the return
reported for the policy picked to keep 95 %, and the same for the naive pick: chosen by search scores and
reported with its search score.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from search.front.confirmed_front import confirm
from search.front.pareto import candidates, nondominated
from search.store.archive import Baseline, Evaluation, Purpose, Snapshot

Floats = NDArray[np.float64]
RANDOM, DENSE, CAP, TOTAL = 22.0, 470.0, 500.0, 4480
POLICIES, SCORE_EPISODES, FRESH, CANDIDATES = 150, 10, 100, 24
TARGET = (0.93, 0.97)


def main() -> None:
    """Simulates the searches and prints the table."""
    arguments = _arguments()
    print(
        f"{'returns':<9}{'intervals':>10}{'coverage':>10}{'picks':>7}{'bias of the pick':>20}"
        f"{'naive bias':>18}{'bias of a front point':>24}"
    )
    for kind in KINDS:
        found = [_search(kind, seed) for seed in range(arguments.searches)]
        inside = np.concatenate([one.inside for one in found])
        points = [one.front_bias for one in found if math.isfinite(one.front_bias)]
        picks = [one.pick_bias for one in found if math.isfinite(one.pick_bias)]
        naive = [one.naive_bias for one in found if math.isfinite(one.naive_bias)]
        verdict = "" if TARGET[0] <= inside.mean() <= TARGET[1] else " !"
        print(
            f"{kind:<9}{len(inside):>10,}{inside.mean():>9.1%}{verdict:<1}{len(picks):>7,}"
            f"{_with_error(picks):>20}{_with_error(naive):>18}{_with_error(points):>24}"
        )
    print(f"± is twice the simulation's own standard error; searches: {arguments.searches}")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Results that one simulated search reports, compared with the truth.

    Attributes:
        inside: For each front point with an interval, whether it contains the truth.
        front_bias: Mean error of the front points' reported returns.
        pick_bias: Error of the reported return of the pick that keeps 95 %; NaN without one.
        naive_bias: Error of the naive pick's search score; NaN without one.
    """

    inside: list[bool]
    front_bias: float
    pick_bias: float
    naive_bias: float


def _search(kind: str, seed: int) -> Outcome:
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    play = KINDS[kind]
    snapshots, truth = _archive(rng, play)
    chosen = candidates(snapshots, CANDIDATES, floor=RANDOM)
    truth |= {"dense": DENSE, "random": RANDOM}
    evaluations = []
    for purpose in PURPOSES:
        common = rng.standard_normal(FRESH)
        for name in (*(s.snapshot_id for s in chosen), "dense", "random"):
            returns = play(rng, truth[name], common)
            evaluations.append(_evaluation(name, purpose, returns))
    baselines = {
        name: Baseline(
            name=name, description="", env_steps=0, wall_time=0.0, search_return=truth[name]
        )
        for name in ("dense", "random")
    }
    front = confirm(snapshots, evaluations, baselines, rng)
    table = front.table
    true = table["snapshot_id"].map(truth).to_numpy(float)
    low, high = (table[f"return_ci_{end}"].to_numpy(float) for end in ("low", "high"))
    known = np.isfinite(low)
    error = table["return_mean"].to_numpy(float) - true
    picked = table["keeps_95"].to_numpy(bool)
    return Outcome(
        inside=[bool(x) for x in (low <= true)[known] & (true <= high)[known]],
        front_bias=float(error.mean()) if len(error) else math.nan,
        pick_bias=float(error[picked][0]) if picked.any() else math.nan,
        naive_bias=_naive(snapshots, truth),
    )


PURPOSES: tuple[Purpose, ...] = ("selection", "report")


def _archive(
    rng: np.random.Generator, play: Callable[[np.random.Generator, float, Floats], Floats]
) -> tuple[list[Snapshot], dict[str, float]]:
    """Simulates policies along the log density, each with some luck in what it has learned."""
    snapshots, truth = [], {}
    common = rng.standard_normal(SCORE_EPISODES)
    for i in range(POLICIES):
        nonzero = max(2, round(TOTAL * 10 ** -rng.uniform(0, 3)))
        kept = 1 / (1 + (20 / nonzero) ** 3)
        mean = RANDOM + (DENSE - RANDOM) * kept * rng.uniform(0.85, 1.0)
        returns = play(rng, mean, common)
        name = f"p{i:03d}"
        truth[name] = mean
        snapshots.append(
            Snapshot(
                snapshot_id=name,
                trial_number=i,
                member=i,
                segment=0,
                iteration=1,
                env_steps=1,
                wall_time=float(i),
                status="ok",
                return_mean=float(returns.mean()),
                return_std=float(returns.std(ddof=1)),
                episodes=len(returns),
                sparsity=1 - nonzero / TOTAL,
                critic_sparsity=0.0,
                nonzero_params=nonzero,
                total_params=TOTAL,
                parent="",
                checkpoint=f"policies/{name}",
                state="",
                hyperparameters={},
            )
        )
    return snapshots, truth


def _naive(snapshots: list[Snapshot], truth: dict[str, float]) -> float:
    """Returns the error of the naive pick: the sparsest point of the search front that keeps 95 %."""
    points = np.array([(s.return_mean, s.sparsity) for s in snapshots])
    bar = RANDOM + 0.95 * (DENSE - RANDOM)
    able = [
        s
        for s, on in zip(snapshots, nondominated(points), strict=True)
        if on and s.return_mean >= bar
    ]
    if not able:
        return math.nan
    pick = max(able, key=lambda s: s.sparsity)
    return pick.return_mean - truth[pick.snapshot_id]


def _evaluation(name: str, purpose: Purpose, returns: Floats) -> Evaluation:
    start = 1_000_000 * (1 + PURPOSES.index(purpose))
    return Evaluation(
        snapshot_id=name,
        purpose=purpose,
        seeds=list(range(start, start + len(returns))),
        returns=returns.tolist(),
        lengths=[1] * len(returns),
    )


def _normal(rng: np.random.Generator, mean: float, common: Floats) -> Floats:
    return mean + 40 * common + 60 * rng.standard_normal(len(common))


def _skewed(rng: np.random.Generator, mean: float, common: Floats) -> Floats:
    return np.asarray(mean + 20 * common + 60 * (rng.exponential(size=len(common)) - 1))


def _capped(rng: np.random.Generator, mean: float, common: Floats) -> Floats:
    """Returns the cap, or less for episodes that fail: more often at a low mean, and on hard seeds."""
    fails = 2 * (1 - mean / CAP)
    if fails >= 1:
        return np.maximum(0.0, mean + mean / 4 * rng.standard_normal(len(common)))
    # A uniform number, half determined by the seed; the probability of failing stays the same.
    own = _uniform((common + rng.standard_normal(len(common))) / math.sqrt(2))
    return np.asarray(np.where(own < fails, rng.uniform(0, CAP, len(common)), CAP))


def _uniform(normal: Floats) -> Floats:
    return np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in normal])


KINDS = {"normal": _normal, "skewed": _skewed, "capped": _capped}


def _with_error(values: Iterable[float]) -> str:
    x = np.array(list(values))
    return f"{x.mean():+.2f} ± {2 * x.std(ddof=1) / math.sqrt(len(x)):.2f}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=400, help="of each kind of return")
    return parser.parse_args()


if __name__ == "__main__":
    main()
