"""What a search will run, and roughly for how long: said before it starts."""

from __future__ import annotations

import os
import time

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.evaluate import Evaluator, RandomPolicy, env_maker
from search.baseline_plan import KINDS, TITLES
from search.config import ExperimentConfig
from search.engine import engine_of
from search.ppo import build_ppo, slots_that_fit
from search.seeds import draw

# An engine's share of an env step on one core: forward passes, connectors and updates of a small network
# (measured with 16 environments, minibatches of 256 and 6 epochs; packs of 8 members and more).
SECONDS_PER_STEP = {"rllib": 1.0 / 9_000, "packed": 1.0 / 80_000}
# Starting Ray, its workers and RLlib; closing and the report.
FIXED_SECONDS = 20.0


def describe_plan(config: ExperimentConfig) -> str:
    """What `search` would do with a configuration on this machine.

    Builds the PPO configuration and steps the environment for a moment.

    Raises:
        ConfigError: Something in it is refused.
    """
    ppo = build_ppo(config)
    engine = engine_of(config, ppo)
    needed = engine.resources
    fit = slots_that_fit(needed, {"CPU": float(os.cpu_count() or 1)})
    slots = engine.slots(config, fit)
    training = config.budget.env_steps + config.horizon
    held_out = config.evaluation.selection_episodes + config.evaluation.report_episodes
    lines = [
        f"{config.name}: {config.env}, strategy {config.search.strategy}, seed {config.seed}",
        f"  members     {config.population.members}, {config.horizon:,} env steps each, in "
        f"{config.population.segments} segments of {config.segment_steps:,}",
        f"  trials      {config.population.members * config.population.segments} segments and the "
        "dense baseline",
        f"  training    {config.budget.env_steps:,} env steps, and {config.horizon:,} of the dense "
        "baseline",
        f"  evaluation  {config.evaluation.episodes} episodes every {_iterations(config)}; "
        f"at the end {config.evaluation.candidates + 1} policies × {held_out} episodes",
        *_afterwards(config),
        f"  searched    {', '.join(config.search.space)}",
        f"  engine      {engine.name}; a {engine.unit} takes {_resources(needed.required_resources)}",
    ]
    if not fit:
        lines.append(
            f"  this machine cannot hold one {engine.unit}; use a cluster (search --address)"
        )
        return "\n".join(lines)
    seconds = training * (_env_seconds_per_step(ppo, config.seed) + SECONDS_PER_STEP[engine.name])
    minutes = (seconds / slots + FIXED_SECONDS) / 60.0
    lines.append(
        f"  here        {engine.describe(config, slots)}, training for roughly {minutes:.0f} min"
    )
    return "\n".join(lines)


def _afterwards(config: ExperimentConfig) -> list[str]:
    """What follows the search, where something does."""
    lines = []
    counts = {TITLES[kind]: getattr(config.baselines, kind) for kind in KINDS}
    if told := [f"{count} × {title}" for title, count in counts.items() if count]:
        lines.append(f"  baselines   {', '.join(told)}; {config.horizon:,} env steps each")
    if shifts := config.evaluation.shifts:
        labels = "; ".join(shift.label for shift in shifts)
        lines.append(f"  shifts      {labels}: {config.evaluation.shift_episodes} episodes each")
    return lines


def _iterations(config: ExperimentConfig) -> str:
    interval = config.evaluation.interval
    return "iteration" if interval == 1 else f"{interval} iterations"


def _resources(amounts: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(amounts.items()))


def _env_seconds_per_step(ppo: PPOConfig, seed: int) -> float:
    evaluator = Evaluator(env_maker(ppo), max_episode_steps=1_000)
    try:
        seeds = draw(seed, "baseline", 4, 1)
        started = time.perf_counter()
        episodes = evaluator.run(RandomPolicy(evaluator.action_space), seeds)
        return (time.perf_counter() - started) / max(1, sum(episodes.lengths))
    finally:
        evaluator.close()
