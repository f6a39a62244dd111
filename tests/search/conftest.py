"""Results folders of searches that never ran: simulated, with a known true front."""

import dataclasses
import functools
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from pretended_search import Search

from search.front.pareto import candidates
from search.store.archive import Baseline, Evaluation, Snapshot

LAYERS = {"pi.encoder.0": 256, "pi.encoder.1": 4096, "pi.head": 128}
TOTAL = sum(LAYERS.values())
RANDOM, CAP = 22.0, 500.0


@dataclasses.dataclass(frozen=True)
class World:
    """A simulated search.

    Attributes:
        folder: Its results folder.
        snapshots: The archive.
        truth: True mean return of each policy and baseline.
    """

    folder: Path
    snapshots: list[Snapshot]
    truth: dict[str, float]


def true_return(density: float, progress: float, skill: float) -> float:
    """Falls where few weights are left, rises while it trains."""
    kept = 1.0 / (1.0 + (0.006 / density) ** 3)
    return RANDOM + (CAP - RANDOM) * min(1.0, 1.08 * kept * skill * (1 - math.exp(-5 * progress)))


@functools.cache
def luck_of(world: int, seed: int) -> float:
    return float(np.random.default_rng([world, seed]).normal())


def play(rng, mean, seeds, kind, world):
    """Returns of one episode a seed; an easy seed is easy for every policy of the world."""
    common = np.array([luck_of(world, seed) for seed in seeds])
    own = rng.normal(size=len(seeds))
    if kind == "normal":
        return mean + 24 * common + 32 * own
    if kind == "skewed":
        return mean + 40 * (rng.exponential(size=len(seeds)) - 1)
    # Capped: an episode reaches the cap or falls somewhere below it, at 0 on average.
    fails = rng.random(len(seeds)) < np.clip(1 - mean / CAP, 0, 1) * 2
    returns = np.where(fails, rng.uniform(0, CAP, len(seeds)), CAP)
    return returns if mean > CAP / 2 else np.maximum(1.0, rng.normal(mean, mean / 4, len(seeds)))


def hyperparameters(rng):
    schedule = str(rng.choice(["cubic", "linear"]))
    values = {
        "final_sparsity": round(float(1 - 10 ** -rng.uniform(0.7, 2.7)), 4),
        "schedule": schedule,
        "lr": float(f"{10 ** rng.uniform(-4, -2.7):.2e}"),
        "end": round(float(rng.uniform(0.5, 0.9)), 2),
    }
    if schedule == "linear":
        values["tolerance"] = round(float(rng.uniform(0.05, 0.2)), 3)
    return values


def build(
    folder: Path,
    *,
    seed: int = 0,
    members: int = 8,
    segments: int = 5,
    per_segment: int = 6,
    episodes: int = 5,
    fresh: int = 100,
    limit: int = 24,
    kind: str = "capped",
    purposes: tuple[str, ...] = ("selection", "report"),
    name: str = "cartpole",
) -> World:
    rng = np.random.default_rng(seed)
    horizon = 100_000
    truth: dict[str, float] = {}
    snapshots: list[Snapshot] = []
    events: list[dict] = []
    recipe = [hyperparameters(rng) for _ in range(members)]
    skill = rng.uniform(0.75, 1.0, members)
    sparsity = np.zeros(members)
    parent = [""] * members
    latest: list[Snapshot | None] = [None] * members
    for segment in range(segments):
        if segment:
            ranked = sorted(
                range(members), key=lambda m: -(latest[m].return_mean + 150 * sparsity[m])
            )
            quarter = max(1, members // 4)
            for bad in ranked[-quarter:]:
                good = int(rng.choice(ranked[:quarter]))
                parent[bad], sparsity[bad] = latest[good].snapshot_id, sparsity[good]
                skill[bad] = min(1.05, skill[good] * rng.uniform(0.97, 1.06))
                recipe[bad] = {**hyperparameters(rng), "final_sparsity": 0.9985}
                events.append(
                    {"event": "exploit", "member": bad, "segment": segment, "donor": parent[bad]}
                )
        for member in range(members):
            events.append({"event": "explore", "member": member, "segment": segment})
            if member == 3 and segment == 2:
                failure = "RuntimeError: the environment | process <died>"
                events.append({"event": "failure", "member": 3, "segment": 2, "error": failure})
            for step in range(per_segment):
                iteration = segment * per_segment + step + 1
                progress = iteration / (segments * per_segment)
                aim = recipe[member]["final_sparsity"]
                ramp = min(1.0, progress / recipe[member]["end"])
                sparsity[member] = max(sparsity[member], aim * (1 - (1 - ramp) ** 3))
                nonzero = max(4, round((1 - sparsity[member]) * TOTAL))
                share = nonzero / TOTAL
                mean = true_return(share, progress, float(skill[member]))
                seeds = [segment * 1000 + i for i in range(episodes)]
                returns = play(rng, mean, seeds, kind, seed)
                snapshot_id = f"m{member:02d}-s{segment:03d}-i{iteration:04d}"
                layers = {
                    layer: min(1.0, 1 - share * weight)
                    for layer, weight in zip(LAYERS, (2.5, 0.85, 3.0), strict=True)
                }
                infeasible = returns.mean() <= RANDOM
                snapshot = Snapshot(
                    snapshot_id=snapshot_id,
                    trial_number=segment * members + member,
                    member=member,
                    segment=segment,
                    iteration=iteration,
                    env_steps=round(progress * horizon),
                    wall_time=3.0 * len(snapshots),
                    status="infeasible" if infeasible else "ok",
                    return_mean=float(returns.mean()),
                    return_std=float(returns.std(ddof=1)) if episodes > 1 else 0.0,
                    episodes=episodes,
                    sparsity=1 - share,
                    critic_sparsity=0.5 * (1 - share),
                    nonzero_params=nonzero,
                    total_params=TOTAL,
                    parent=parent[member],
                    checkpoint=f"policies/{snapshot_id}",
                    state="",
                    hyperparameters=recipe[member],
                    layers={k: max(0.0, v) for k, v in layers.items()},
                    seeds=seeds,
                    returns=[float(r) for r in returns],
                    lengths=[max(1, int(r)) for r in returns],
                )
                truth[snapshot_id] = mean
                snapshots.append(snapshot)
                latest[member] = snapshot
            parent[member] = snapshot_id
    baselines = [
        Baseline(
            name="dense",
            description="PPO, no pruning, one horizon",
            env_steps=horizon,
            wall_time=31.0,
            search_return=CAP,
            sparsity=0.0,
            nonzero_params=TOTAL,
            total_params=TOTAL,
            checkpoint="policies/dense",
        ),
        Baseline(name="random", description="random actions", env_steps=0, wall_time=0.0,
                 search_return=RANDOM),
        Baseline(name="constant", description="best constant action", env_steps=0, wall_time=0.0,
                 search_return=9.4),
    ]  # fmt: skip
    truth |= {"dense": 492.0, "random": RANDOM, "constant": 9.4}
    chosen = [s.snapshot_id for s in candidates(snapshots, limit, floor=RANDOM)]
    evaluations = []
    for offset, purpose in enumerate(purposes, start=1):
        seeds = list(range(offset * 10**6, offset * 10**6 + fresh))
        for policy in (*chosen, *(b.name for b in baselines)):
            returns = [float(r) for r in play(rng, truth[policy], seeds, kind, seed)]
            evaluations.append(
                Evaluation(
                    snapshot_id=policy,
                    purpose=purpose,
                    seeds=seeds,
                    returns=returns,
                    lengths=[max(1, int(r)) for r in returns],
                )
            )
    manifest = {
        "name": name,
        "env": "CartPole-v1",
        "command": ["prunefront", "search", "configs/cartpole.yaml", "seed=1"],
        "versions": {"prunefront": "0.1.0", "ray": "2.60.0", "torch": "2.13.0"},
        "git_revision": "0123abc",
        "seed": 1,
        "hardware": {"cpus": 2, "platform": "Linux x86_64", "gpus": 0},
        "strategy": "pareto_pbt",
        "status": "finished",
        "started": "2026-01-02T03:04:05+00:00",
        "wall_time": 251.5,
        "env_steps": {"training": members * horizon, "baselines": horizon, "evaluation": 1_234_567},
        "budget": {"env_steps": members * horizon, "horizon": horizon},
        "members": members,
        "slots": 2,
        "failures": [],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "config.yaml").write_text("name: cartpole\nenv: CartPole-v1  # <b>verbatim</b>\n")
    write_lines(folder / "snapshots.jsonl", [dataclasses.asdict(s) for s in snapshots])
    write_lines(folder / "evaluations.jsonl", [dataclasses.asdict(e) for e in evaluations])
    write_lines(folder / "baselines.jsonl", [dataclasses.asdict(b) for b in baselines])
    write_lines(folder / "events.jsonl", [{"event": "start"}, *events])
    by_id = {s.snapshot_id: s for s in snapshots}
    for policy in (*chosen, "dense"):
        weights = TOTAL if policy == "dense" else by_id[policy].nonzero_params
        place = folder / "policies" / policy
        place.mkdir(parents=True)
        (place / "metadata.json").write_text(json.dumps({"policy_bytes": 900 + 4 * weights}))
    return World(folder, snapshots, truth)


def write_lines(path: Path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture(scope="session")
def simulate():
    """Builds a simulated results folder: `simulate(folder, **options) -> World`."""
    return build


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> World:
    """A finished search; tests must not change its folder."""
    return build(tmp_path_factory.mktemp("results") / "cartpole")


@pytest.fixture
def without_sync(monkeypatch):
    """Where nothing crashes, nothing needs to be synced."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of 8 members under a pretended trainer, two at a time, to its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        folder = tmp_path_factory.mktemp("searched")
        return Search(folder, members=8, segments=6, env_steps=240_000, seed=4).run(slots=2)
