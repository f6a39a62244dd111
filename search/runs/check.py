"""What a search will run, and roughly for how long: said before it starts."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

import gymnasium
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.envs.native.registry import native_of
from rllib_ext.evaluation.evaluator import Evaluator, RandomPolicy
from rllib_ext.export.objectives import measured_objectives
from rllib_ext.export.opened import untrained
from rllib_ext.export.timing import NAMES
from rllib_ext.pruning.errors import ConfigError
from search.cluster.machines import Machine, amounts, offered, slots_on, this_machine
from search.config.baseline_kinds import KINDS, TITLES
from search.config.experiment import ExperimentConfig
from search.config.seeds import draw
from search.evaluation.held_out import LEGAL
from search.population.strategies import STRATEGIES
from search.runs.preparation import Prepared, prepare
from search.training.engine import told_cap

# An engine's share of an env step on one core: forward passes, connectors and updates of a small network
# (measured with 16 environments, minibatches of 256 and 6 epochs; packs of 8 members and more).
SECONDS_PER_STEP = {"rllib": 1.0 / 9_000, "packed": 1.0 / 80_000}
# Starting Ray, its workers and RLlib; closing and the report.
FIXED_SECONDS = 20.0
# Of an episode that can't be tried, in an environment without a time limit.
UNKNOWN_STEPS = 200


def describe_plan(
    config: ExperimentConfig,
    machines: Sequence[Machine] | None = None,
    prepared: Prepared | None = None,
) -> str:
    """What `search` would do with a configuration.

    Builds the PPO configuration and its network, and steps the environment for a moment.

    Args:
        config: The experiment.
        machines: The cluster's machines; None: this machine.
        prepared: What `prepare` returned; None: it is called here.

    Raises:
        ConfigError: Something in it is refused, or the machines can't hold it.
    """
    prepared = prepared or prepare(config)
    ppo, engine = prepared.ppo, prepared.engine
    machines = [this_machine()] if machines is None else machines
    slots = engine.slots(config, slots_on(machines, engine.resources, engine.unit))
    taken = engine.resources.required_resources
    training = _training_env_steps(config)
    held_out = config.evaluation.selection_episodes + config.evaluation.report_episodes
    again = (config.evaluation.candidates + 1) * held_out
    during = evaluations(config, ppo) * config.evaluation.episodes
    trained = sum(getattr(config.baselines, kind) for kind in KINDS)
    steps = _steps_of_an_episode(ppo, config)
    # Packs step this environment all at once, which the measured share of a step includes.
    at_once = engine.name == "packed" and native_of(env_maker(ppo)) is not None
    each = SECONDS_PER_STEP[engine.name] + (0.0 if at_once else steps.seconds)
    minutes = [
        (
            min((training + during * length) * each / slots, config.budget.seconds or math.inf)
            + again * length * each / slots
            + trained * (config.horizon + held_out * length) * each / min(slots, max(1, trained))
            + FIXED_SECONDS
        )
        / 60.0
        for length in (steps.least, steps.most)
    ]
    most = {name: amount * slots for name, amount in taken.items()}
    horizon = STRATEGIES[config.search.strategy].horizon_of(config)
    capped = told_cap(config, engine, slots)
    lines = [
        f"{config.name}: {config.env}, strategy {config.search.strategy}, seed {config.seed}",
        f"  members     {_members(config)}, {horizon:,} env steps a lineage, in "
        f"{round(horizon / config.segment_steps)} segments of {config.segment_steps:,}",
        f"  trials      {_segments(config)} segments and the dense baseline",
        f"  training    {_budget(config)}, and {config.horizon:,} of the dense baseline",
        f"  evaluation  {config.evaluation.episodes} episodes every {_iterations(config)}, about "
        f"{during:,} in all; at the end {config.evaluation.candidates + 1} policies × {held_out}",
        *_afterwards(config),
        f"  searched    {', '.join(config.search.space)}",
        *_objectives(config, prepared),
        f"  engine      {engine.name}; a {engine.unit} takes {amounts(taken)}",
        *([f"  not packed  {engine.unpackable}"] if engine.unpackable else []),
        *([f"  capped      {capped}"] if capped else []),
        f"  machines    {offered(machines)}; at most {amounts(most)} of them at once",
        f"  time        {engine.describe(config, slots)}, roughly {_minutes(minutes)} where an episode "
        f"has {steps.least:,.0f} to {steps.most:,.0f} steps"
        + (", without the shifts" if config.evaluation.shifts else ""),
    ]
    return "\n".join(lines)


def _members(config: ExperimentConfig) -> str:
    first, last = config.sizes[0], config.sizes[-1]
    return str(last) if first == last else f"{first} at first, {last} at last"


def _objectives(config: ExperimentConfig, prepared: Prepared) -> list[str]:
    """What is searched for beside return and sparsity, and what measuring it costs."""
    names = config.search.measured
    if not names:
        return []
    lines = [f"  objectives  {', '.join(config.search.objectives)}"]
    if "bytes" in names:
        lines.append("  bytes       flash of the policy in C, counted: no compiler is needed")
    if form := prepared.timed_form:
        lines.append(f"  latency     of the policy in {NAMES[form]}, by the machine that trains it")
    parts = untrained(prepared.ppo)
    # The first time loads what the others find.
    for _ in range(2):
        started = time.perf_counter()
        measured_objectives(names, parts, {}, prepared.timed_form)
        took = time.perf_counter() - started
    again = evaluations(config, prepared.ppo)
    lines.append(f"  measured    about {again:,} times, here in {took:.2f} s for the dense policy")
    return lines


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


def evaluations(config: ExperimentConfig, ppo: PPOConfig) -> int:
    """About how often members are evaluated in training."""
    batch = max(1, int(ppo.train_batch_size_per_learner) * max(1, int(ppo.num_learners or 0)))
    members = _members_env_steps(config) / config.horizon
    iterations = math.ceil(config.segment_steps / batch)
    a_segment = math.ceil(iterations / config.evaluation.interval)
    return math.ceil(members * config.population.segments * a_segment)


def _minutes(minutes: Sequence[float]) -> str:
    least, most = (max(1, round(m)) for m in minutes)
    return f"{least} min" if least == most else f"{least} to {most} min"


def _segments(config: ExperimentConfig) -> str:
    if config.budget.env_steps is None:
        return "as many as there is time for:"
    return str(round(config.budget.env_steps / config.segment_steps))


def _budget(config: ExperimentConfig) -> str:
    steps, seconds = config.budget.env_steps, config.budget.seconds
    given = [f"{steps:,} env steps"] if steps is not None else []
    given += [f"{seconds:g} s"] if seconds is not None else []
    return " or ".join(given)


def _training_env_steps(config: ExperimentConfig) -> int:
    """What members and the dense baseline cost."""
    return _members_env_steps(config) + config.horizon


def _members_env_steps(config: ExperimentConfig) -> int:
    """A horizon each where only time limits them."""
    return config.budget.env_steps or config.horizon * config.population.members


def _iterations(config: ExperimentConfig) -> str:
    interval = config.evaluation.interval
    return "iteration" if interval == 1 else f"{interval} iterations"


@dataclasses.dataclass(frozen=True)
class _Steps:
    """How long episodes are, and what a step costs.

    Attributes:
        least: Env steps of a random policy's episode.
        most: At which the environment ends an episode; `least` where it names no such limit.
        seconds: How long a step of the environment by itself takes.
    """

    least: float
    most: float
    seconds: float


def _steps_of_an_episode(ppo: PPOConfig, config: ExperimentConfig) -> _Steps:
    make = env_maker(ppo)
    env = make()
    limit = getattr(env.spec, "max_episode_steps", None)
    env.close()
    if not config.baselines.untrained:
        # Nobody knows which actions could be taken to try it.
        return _Steps(least=limit or UNKNOWN_STEPS, most=limit or UNKNOWN_STEPS, seconds=0.0)
    # Wrapped, it has no native version: RLlib's processes step single environments.
    evaluator = Evaluator(lambda: gymnasium.Wrapper(make()), max_episode_steps=1_000)
    try:
        seeds = draw(config.seed, "baseline", 4, 1)
        started = time.process_time()
        episodes = evaluator.run(RandomPolicy(evaluator.action_space), seeds)
        seconds = (time.process_time() - started) / max(1, sum(episodes.lengths))
    except Exception as error:
        # An environment is anybody's code.
        raise ConfigError(
            f"env: an episode at random fails: {type(error).__name__}: {error}. Expected an environment "
            f"that can be reset and stepped to its end. {LEGAL}"
        ) from error
    finally:
        evaluator.close()
    least = sum(episodes.lengths) / len(episodes.lengths)
    return _Steps(least=least, most=max(least, float(limit or 0)), seconds=seconds)
