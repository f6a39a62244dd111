"""Audits a search that was hit by faults: its env steps, and errors in its results."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.faulty_environment import read_meters
from benchmarks.shared.phases import failed_baselines
from search.config.experiment import ExperimentConfig
from search.config.seeds import draw
from search.evaluation.held_out import held_out_seeds
from search.evaluation.under_shift import MEASURED_EPISODES
from search.front.generalisation import known_episodes, read_shifted
from search.front.pareto import candidates
from search.front.read_results import read_results
from search.front.results import Results
from search.population.baseline_plan import plan_baselines
from search.population.recovery import replay
from search.population.thinning import POLICIES_PER_CANDIDATE
from search.store.archive import CANDIDATES, Archive
from search.store.continued import load_config_of
from search.store.deletion import TRASH
from search.training.plain_sizes_of import plain_sizes_of
from search.training.ppo_config import build_ppo


@dataclasses.dataclass(frozen=True)
class Account:
    """Account of the training env steps, including those of the dense baseline.

    Attributes:
        trained: Steps that environments took in training.
        booked: Steps that the results folder accounts for.
        repeated: Booked steps of segments that were then trained again from their start.
        failed: Booked steps of segments that failed for good.
    """

    trained: int
    booked: int
    repeated: int
    failed: int

    @property
    def lost(self) -> int:
        """Steps trained by killed processes after they last wrote a line."""
        return self.trained - self.booked


def account(place: Path, folder: Path) -> Account:
    """Counts the steps that were trained, and those of them that were lost or repeated.

    Args:
        place: Folder of the environments' meters.
        folder: The results folder.
    """
    archive, config = Archive(folder), load_config_of(folder)
    events = archive.events()
    evaluation = evaluation_seeds(config, events)
    trained = sum(steps for steps, seed in read_meters(place) if seed not in evaluation)
    repeated, failed = repeated_steps(events)
    spent = json.loads((folder / "manifest.json").read_text())["env_steps"]
    return Account(trained, spent["training"] + spent["baselines"], repeated, failed)


def evaluation_seeds(config: ExperimentConfig, events: list[dict[str, Any]]) -> set[int]:
    """Returns the seeds with which environments are reset to evaluate a policy, never to train one."""
    plans = [e["plan"] for e in events if e["event"] == "start"]
    found = {seed for plan in plans for seed in plan["evaluation_seeds"]}
    found |= {seed for seeds in held_out_seeds(config).values() for seed in seeds}
    found |= set(draw(config.seed, "baseline", config.evaluation.selection_episodes))
    # Seeds of the episodes that measure the unit of a shift's noise.
    return found | set(draw(config.seed, "baseline", MEASURED_EPISODES, 2))


def repeated_steps(events: list[dict[str, Any]]) -> tuple[int, int]:
    """Returns the env steps that were trained again, and those of segments that failed for good."""
    started: dict[tuple[int, int], int] = {}
    repeated = failed = 0
    for event in events:
        # A failed baseline has a name instead of a number, and reports no steps.
        if not isinstance(event.get("member"), int):
            continue
        key = event["member"], event.get("segment", 0)
        if event["event"] == "start":
            started[key] = event["env_steps"]
        elif event["event"] in ("retry", "lost"):
            repeated += event["env_steps"] - started[key]
        elif event["event"] == "failure":
            failed += event["env_steps"] - started[key]
    return repeated, failed


def reached(archive: Archive, members: int) -> list[int]:
    """Returns the largest clock at the end of a segment, by member; at the horizon clocks are reset."""
    clocks = [0] * members
    for event in archive.events():
        if event["event"] == "end" and event["member"] in range(members):
            clocks[event["member"]] = max(clocks[event["member"]], event["env_steps"])
    return clocks


def lost_baselines(archive: Archive) -> dict[str, str]:
    """Returns the baselines that are missing because their training failed, with the reason for each."""
    there = archive.baselines()
    failed = failed_baselines(archive.events())
    return {e["member"]: e["error"] for e in failed if e["member"] not in there}


def mistakes(folder: Path, first_end: int) -> list[str]:
    """Lists what is wrong with a finished search; empty if nothing is.

    Args:
        folder: The results folder.
        first_end: Number of snapshots when its training ended for the first time.
    """
    results, config = read_results(folder), load_config_of(folder)
    return [
        *_rows(folder),
        *_segments(results, config),
        *_members(Archive(folder), config),
        *_choice(results, config, first_end),
        *_evaluations(results, config),
        *_front(results),
        *_baselines(results, config),
        *_shifts(results, config),
        *_files(folder),
    ]


def _rows(folder: Path) -> Iterator[str]:
    ids = []
    for number, line in enumerate((folder / "snapshots.jsonl").read_text().splitlines(), 1):
        try:
            ids.append(json.loads(line)["snapshot_id"])
        except (ValueError, KeyError):
            yield f"line {number} of snapshots.jsonl can't be read"
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        yield f"rows that are there twice: {twice}"


def _segments(results: Results, config: ExperimentConfig) -> Iterator[str]:
    told = [e for e in results.events if isinstance(e.get("member"), int)]
    over = {(e["member"], e["segment"]) for e in told if e["event"] in ("end", "failure")}
    begun = {(e["member"], e["segment"]) for e in told if e["event"] == "start"}
    spent = results.manifest["env_steps"]["training"] >= (config.budget.env_steps or 0)
    # If the budget is spent before a lost segment's turn comes, that segment is not trained again.
    left = {(e["member"], e["segment"]) for e in told if e["event"] == "lost"} if spent else set()
    if not begun - over <= left:
        yield f"segments that began and never ended: {sorted(begun - over - left)}"
    for member in range(config.population.members):
        own = sorted(segment for m, segment in over if m == member)
        if own != list(range(len(own))):
            yield f"member {member} lacks segments: it has {own}"
    if results.manifest["status"] != "finished":
        yield f"the manifest says {results.manifest['status']}"
    if not spent:
        yield f"the budget was not spent: {results.manifest['env_steps']}"


def _members(archive: Archive, config: ExperimentConfig) -> Iterator[str]:
    count = config.population.members
    for member in replay(archive, count).members:
        if member.given_up:
            yield f"member {member.index} was given up after {member.failures} failures in a row"
    for index, clock in enumerate(reached(archive, count)):
        if clock < config.horizon:
            yield f"member {index} came to {clock:,} of its horizon's {config.horizon:,} env steps"


def _choice(results: Results, config: ExperimentConfig, first_end: int) -> Iterator[str]:
    told = [e["chosen"] for e in results.events if e["event"] == CANDIDATES]
    limit = config.evaluation.candidates
    # With more policies, some are removed in training, and the choice is among the others.
    if first_end > POLICIES_PER_CANDIDATE * limit:
        yield f"{first_end} snapshots are too many to know the candidates: raise --candidates"
        return
    wanted = [
        s.snapshot_id for s in candidates(Archive(results.folder).snapshots()[:first_end], limit)
    ]
    if not told or told[0] != wanted:
        yield f"candidates are {told[0] if told else 'none'}, expected {wanted}"


def _evaluations(results: Results, config: ExperimentConfig) -> Iterator[str]:
    names = {"dense", "random", "constant", *results.baseline_records}
    for event in results.events:
        names.update(event["chosen"] if event["event"] == CANDIDATES else ())
    played = {(e.snapshot_id, e.purpose): tuple(e.seeds) for e in results.evaluations}
    for purpose, seeds in held_out_seeds(config).items():
        partly = sorted(name for name in names if played.get((name, purpose)) != tuple(seeds))
        if partly:
            yield f"not evaluated on all {purpose} seeds: {partly}"
    unknown = {name for name, _ in played} - names
    if unknown:
        yield f"evaluated, but never chosen: {sorted(unknown)}"


def _front(results: Results) -> Iterator[str]:
    front = results.confirmed.table
    if front.empty or front["return_mean"].isna().any() or (front["figures"] != "report").any():
        yield "the front is not complete"
    path = results.folder / "front.csv"
    written = path.read_text().splitlines()[1:] if path.is_file() else []
    if [line.partition(",")[0] for line in written] != list(front["snapshot_id"]):
        yield "front.csv is another front than the archive's"
    gone = [p for p in front["policy"] if not (results.folder / p / "masks.npz").is_file()]
    if gone:
        yield f"policies of the front that are gone: {gone}"


def _baselines(results: Results, config: ExperimentConfig) -> Iterator[str]:
    known = results.baseline_records
    absent = {"dense", "random", "constant"} - set(known)
    if absent:
        yield f"baselines that are absent: {sorted(absent)}"
    plain = plain_sizes_of(build_ppo(config))
    left_out = Archive(results.folder).left_out()
    missing = plan_baselines(config, results.confirmed.table, known, plain, left_out)
    lost = Counter(name.rpartition("-")[0] for name in lost_baselines(Archive(results.folder)))
    for kind, count in Counter(p.kind for p in missing).items():
        if count > lost[kind]:
            yield f"{count} baselines {kind} were never trained; {lost[kind]} failed"
    gone = [
        b.name
        for b in known.values()
        if b.checkpoint and not (results.folder / b.checkpoint).is_dir()
    ]
    if gone:
        yield f"policies of baselines that are gone: {gone}"


def _shifts(results: Results, config: ExperimentConfig) -> Iterator[str]:
    seeds = held_out_seeds(config)["report"][: config.evaluation.shift_episodes]
    policies = ["dense", "random", *results.confirmed.table["snapshot_id"]]
    wanted = {(s.label, name) for s in config.evaluation.shifts for name in policies}
    missing = wanted - known_episodes(read_shifted(results.folder), seeds)
    if missing:
        yield f"not played under shift: {sorted(missing)}"


def _files(folder: Path) -> Iterator[str]:
    half = [
        str(p)
        for kind in ("policies", "states")
        for p in (folder / kind).glob("*")
        if p.suffix in (".part", ".old")
    ]
    if half:
        yield f"half-written: {half}"
    if (folder / TRASH).exists():
        yield "what was to be removed is still there"
    if not (folder / "report.html").is_file():
        yield "there is no report"
