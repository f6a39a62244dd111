"""Searches that never ran: results folders made at once, or coordinated with a pretended trainer."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from rllib_ext.segment import DENSE, Segment, snapshot_name
from search.archive import Archive, Baseline, Evaluation, Snapshot
from search.config_file import parse_config
from search.coordinator import Coordinator
from search.front import candidates
from search.study import Study

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


def play(rng, mean, seeds, kind, world):
    """Returns of one episode a seed; an easy seed is easy for every policy of the world."""
    common = np.array([np.random.default_rng([world, s]).normal() for s in seeds])
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


@pytest.fixture
def simulate():
    """Builds a simulated results folder: `simulate(folder, **options) -> World`."""
    return build


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> World:
    """A finished search; tests must not change its folder."""
    return build(tmp_path_factory.mktemp("results") / "cartpole")


class Trainer:
    """Trains segments in no time: what a member can, it has learned under its learning rate.

    The more weights are left and the closer the learning rate lies to the best one, the more a member
    learns; pruning fast costs what it had learned. `true_front` is what a fully trained one returns.

    Args:
        folder: The results folder.
        fails: Whether, and how, a segment fails: "raise" after its first iteration, or "nan".
    """

    ITERATION = 1_000
    WEIGHTS = 1_000
    BEST_LR = 3e-3

    def __init__(self, folder, fails=lambda segment: ""):
        self.folder = folder
        self.fails = fails
        self.iterations = 0

    @classmethod
    def true_front(cls, sparsity):
        return RANDOM + (CAP - RANDOM) / (1.0 + (0.02 / (1.0 - sparsity)) ** 3)

    def train(self, segment: Segment):
        """Yields (result, snapshot) iteration by iteration."""
        clock, sparsity, skill, iteration = 0, 0.0, 0.0, 0
        if segment.state:
            state = json.loads((self.folder / segment.state / "state.json").read_text())
            clock, sparsity, skill, iteration = state
        began, from_sparsity = clock, sparsity
        pruning = segment.pruning
        horizon = pruning["horizon"]
        rate = math.log10(segment.training.get("lr", self.BEST_LR) / self.BEST_LR)
        fails = self.fails(segment)
        rng = np.random.default_rng(segment.seed)
        while clock < segment.until_env_steps:
            clock, iteration = clock + self.ITERATION, iteration + 1
            self.iterations += 1
            if fails == "raise" and clock - began > self.ITERATION:
                raise RuntimeError("the environment died")
            start = max(pruning["begin"], began / horizon)
            ramp = (clock / horizon - start) / max(1e-9, pruning["end"] - start)
            aim = from_sparsity + (pruning["final_sparsity"] - from_sparsity) * min(max(ramp, 0), 1)
            new = max(sparsity, round(aim * self.WEIGHTS) / self.WEIGHTS)
            skill *= ((1 - new) / (1 - sparsity)) ** 0.5
            sparsity = new
            skill += (1 - skill) * 0.12 * math.exp(-2 * rate**2)
            mean = RANDOM + (self.true_front(sparsity) - RANDOM) * skill
            mean = math.nan if fails == "nan" else float(mean + rng.normal(0, 3))
            yield self._iteration(segment, clock, mean, [clock, sparsity, skill, iteration])

    def _iteration(self, segment, clock, mean, state):
        name = snapshot_name(segment.member, segment.segment, state[-1])
        for kind in ("policies", "states"):
            (self.folder / kind / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "states" / name / "state.json").write_text(json.dumps(state))
        result = {
            "env_steps": clock,
            "env_steps_this_iter": self.ITERATION,
            "evaluation_env_steps": 50,
        }
        left = round((1 - state[1]) * self.WEIGHTS)
        snapshot = {
            "snapshot_id": name, "trial_number": segment.trial_number, "member": segment.member,
            "segment": segment.segment, "iteration": state[-1], "env_steps": clock, "status": "ok",
            "return_mean": mean, "return_std": 3.0, "episodes": 2, "parent": segment.parent,
            "sparsity": 1 - left / self.WEIGHTS, "critic_sparsity": 0.0, "nonzero_params": left,
            "total_params": self.WEIGHTS, "layers": {}, "seeds": list(segment.evaluation_seeds),
            "returns": [mean] * 2, "lengths": [25] * 2,
            "checkpoint": f"policies/{name}", "state": f"states/{name}",
        }  # fmt: skip
        return result, snapshot


class Search:
    """A coordinator with a pretended trainer.

    Args:
        folder: The results folder.
        fails: As for `Trainer`.
        **changes: Of the configuration.
    """

    def __init__(self, folder, fails=lambda segment: "", **changes):
        folder.mkdir(parents=True, exist_ok=True)
        self.config = coordinated(**changes)
        self.folder = folder
        self.archive = Archive(folder)
        self.study = Study(
            folder,
            "pretended",
            self.config.space,
            seed=self.config.seed,
            guided=self.config.search.strategy == "pareto_pbt",
            startup_trials=self.config.population.members,
        )
        self.coordinator = Coordinator(self.config, self.archive, self.study, floor=RANDOM)
        self.trainer = Trainer(folder, fails)
        self.segments: list[Segment] = []

    def run(self, slots=1, after_each=lambda: None):
        """To the end; `slots` segments take turns, an iteration each."""
        running = []
        while not self.coordinator.finished:
            while len(running) < slots and (segment := self.coordinator.decide()) is not None:
                self.segments.append(segment)
                running.append((segment, self.trainer.train(segment)))
            for each in list(running):
                segment, iterations = each
                try:
                    self.coordinator.tell(segment, *next(iterations))
                except StopIteration:
                    self.coordinator.end(segment)
                    running.remove(each)
                except RuntimeError as error:
                    self.coordinator.end(segment, str(error))
                    running.remove(each)
                after_each()
        self.coordinator.close()
        return self

    @property
    def of_members(self):
        """All segments but the dense baseline's."""
        return [s for s in self.segments if s.member != DENSE]


def coordinated(*, strategy="pareto_pbt", members=4, segments=4, env_steps=80_000, seed=0, **more):
    """The configuration of a pretended search."""
    space = {
        "pruning.final_sparsity": {
            "type": "float", "low": 0.5, "high": 0.995, "scale": "log_density",
        },
        "pruning.end": {"type": "float", "low": 0.4, "high": 0.95},
        "training.lr": {"type": "float", "low": 1e-5, "high": 1e-1, "scale": "log"},
    }  # fmt: skip
    return parse_config(
        {
            "name": "pretended",
            "env": "CartPole-v1",
            "seed": seed,
            "budget": {"env_steps": env_steps},
            "population": {"members": members, "segments": segments},
            "pruning": {"begin": 0.1},
            "search": {"strategy": strategy, "space": space},
            "evaluation": {"episodes": 2},
            **more,
        },
        "pretended.yaml",
    )


@pytest.fixture
def search_with():
    """Builds a coordinated search: `search_with(folder, **changes) -> Search`."""
    return Search
