"""Describes what a search will run, and for roughly how long, before it starts."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

import gymnasium
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.evaluation.reference import RandomPolicy
from rllib_ext.export.objectives import measured_objectives
from rllib_ext.export.opened import untrained
from rllib_ext.export.timing import NAMES
from rllib_ext.pruning.errors import ConfigError
from search.cluster.machines import Machine, amounts, offered, slots_on, this_machine
from search.config.baseline_kinds import KINDS, TITLES
from search.config.experiment import ExperimentConfig
from search.config.seeds import draw
from search.config.sizing import Costs, Spent, episodes_of, training_env_steps
from search.evaluation.held_out import LEGAL
from search.population.plain_sizes import PlainSizes
from search.population.strategies import STRATEGIES
from search.runs.costs import UNKNOWN_STEPS, batch_of, costs_of
from search.runs.network import described, described_goal
from search.runs.preparation import Prepared, prepare
from search.training.engine import told_cap
from search.training.lesson import LINEAR_EPISODES, TREE_EPISODES
from search.training.plain_sizes_of import plain_sizes_of

# Time for starting Ray, its workers and RLlib, and for closing and the report.
FIXED_SECONDS = 20.0
_VMAPPED = (
    "  stacked     by torch.func.vmap: the policy is a user's own, or of other layers than RLlib's"
)


def describe_plan(
    config: ExperimentConfig,
    machines: Sequence[Machine] | None = None,
    prepared: Prepared | None = None,
) -> str:
    """Returns a readable description of what `search` would do with a configuration.

    Builds the PPO configuration and its network, and briefly steps the environment.

    Args:
        config: The experiment.
        machines: Machines of the cluster; None for this machine.
        prepared: Result of `prepare`; None to call it here.

    Raises:
        ConfigError: A setting is refused, or the experiment doesn't fit on the machines.
    """
    prepared = prepared or prepare(config)
    config, ppo, engine = prepared.config, prepared.ppo, prepared.engine
    machines = [this_machine()] if machines is None else machines
    slots = engine.slots(config, slots_on(machines, engine.resources, engine.unit))
    taken = engine.resources.required_resources
    held_out = config.evaluation.selection_episodes + config.evaluation.report_episodes
    spent = episodes_of(config, batch_of(ppo))
    steps = _steps_of_an_episode(ppo, config)
    costs = costs_of(ppo, engine, steps.seconds)
    cpus = max(1.0, sum(machine.get("CPU", 1.0) for machine in machines))
    times = [
        _times(config, spent, costs, length, slots, cpus) for length in (steps.least, steps.most)
    ]
    most = {name: amount * slots for name, amount in taken.items()}
    horizon = STRATEGIES[config.search.strategy].horizon_of(config)
    capped = told_cap(config, engine, slots)
    goal = described_goal(config, prepared.network)
    lines = [
        f"{config.name}: {config.env}, strategy {config.search.strategy}, seed {config.seed}",
        f"  network     {described(config, prepared.network)}",
        *([f"  goal        {goal}"] if goal else []),
        f"  members     {_members(config)}, {horizon:,} env steps a lineage, in "
        f"{round(horizon / config.segment_steps)} segments of {config.segment_steps:,}",
        f"  trials      {_segments(config)} segments and the dense baseline",
        f"  training    {_budget(config)}, and {config.horizon:,} of the dense baseline",
        f"  evaluation  {config.evaluation.episodes} episodes every {_iterations(config)}, about "
        f"{spent.during:,} in all; at the end {config.evaluation.candidates + 1} policies × {held_out}",
        *([f"  sized       {prepared.sized}"] if prepared.sized else []),
        *_afterwards(config, plain_sizes_of(ppo)),
        f"  searched    {', '.join(config.search.space)}",
        *_objectives(config, prepared),
        f"  engine      {engine.name}; a {engine.unit} takes {amounts(taken)}",
        *([f"  not packed  {engine.unpackable}"] if engine.unpackable else []),
        *([_VMAPPED] if engine.vmapped else []),
        *([f"  capped      {capped}"] if capped else []),
        f"  machines    {offered(machines)}; at most {amounts(most)} of them at once",
        f"  time        {engine.describe(config, slots)}, roughly {_minutes([t.all for t in times])} "
        f"where an episode has {_range(steps.least, steps.most)} steps: {_parts(times)}",
    ]
    return "\n".join(lines)


def _members(config: ExperimentConfig) -> str:
    first, last = config.sizes[0], config.sizes[-1]
    return str(last) if first == last else f"{first} at first, {last} at last"


def _objectives(config: ExperimentConfig, prepared: Prepared) -> list[str]:
    """Returns lines on the objectives beside return and sparsity, and on the cost of measuring them."""
    names = config.search.measured
    if not names:
        return []
    lines = [f"  objectives  {', '.join(config.search.objectives)}"]
    if "bytes" in names:
        lines.append("  bytes       flash of the policy in C, counted: no compiler is needed")
    if form := prepared.timed_form:
        lines.append(f"  latency     of the policy in {NAMES[form]}, by the machine that trains it")
    parts = untrained(prepared.ppo)
    # Timed twice, because the first call also loads modules and caches.
    for _ in range(2):
        started = time.perf_counter()
        measured_objectives(names, parts, {}, prepared.timed_form)
        took = time.perf_counter() - started
    again = episodes_of(config, batch_of(prepared.ppo)).during // config.evaluation.episodes
    lines.append(f"  measured    about {again:,} times, here in {took:.2f} s for the dense policy")
    return lines


def _afterwards(config: ExperimentConfig, plain: PlainSizes) -> list[str]:
    """Returns lines on what follows the search, if anything does."""
    lines = []
    wanted = [kind for kind in KINDS if getattr(config.baselines, kind)]
    there = [kind for kind in wanted if kind not in plain.refused]
    if told := [f"{getattr(config.baselines, kind)} × {TITLES[kind]}" for kind in there]:
        fitted = f", a tree {TREE_EPISODES} episodes" if "tree" in there else ""
        lines.append(f"  baselines   {', '.join(told)}; {config.horizon:,} env steps each{fitted}")
    lines += [f"  left out    {plain.refused[kind]}" for kind in wanted if kind in plain.refused]
    if shifts := config.evaluation.shifts:
        labels = "; ".join(shift.label for shift in shifts)
        lines.append(f"  shifts      {labels}: {config.evaluation.shift_episodes} episodes each")
    return lines


@dataclasses.dataclass(frozen=True)
class _Times:
    """Estimated wall-clock time of a search, in minutes.

    Attributes:
        training: Time for training the members and the dense baseline.
        evaluation: Time for evaluating all policies during and after training, also under shifts.
        baselines: Time for training the baselines that the front is compared with.
    """

    training: float
    evaluation: float
    baselines: float

    @property
    def all(self) -> float:
        """Total time, including the fixed time of any search."""
        return self.training + self.evaluation + self.baselines + FIXED_SECONDS / 60.0


def _times(
    config: ExperimentConfig, spent: Spent, costs: Costs, length: float, slots: int, cpus: float
) -> _Times:
    trees = config.baselines.tree
    trained = sum(getattr(config.baselines, kind) for kind in KINDS) - trees
    training = training_env_steps(config) * costs.training / slots
    # The size of the front isn't known yet; all candidates could be on it.
    shifted = config.evaluation.candidates + 2
    after = spent.after + len(config.evaluation.shifts) * shifted * config.evaluation.shift_episodes
    evaluation = (spent.during / slots + after / cpus) * length * costs.evaluation
    baselines = trained * config.horizon * costs.training / min(slots, max(1, trained))
    played = trees * TREE_EPISODES + config.baselines.linear * LINEAR_EPISODES
    baselines += played * length * costs.evaluation / min(cpus, max(1, trees))
    limited = min(training, config.budget.seconds or math.inf)
    return _Times(limited / 60.0, evaluation / 60.0, baselines / 60.0)


def _parts(times: Sequence[_Times]) -> str:
    least, most = times
    told = [
        f"{name} {_part([getattr(least, name), getattr(most, name)])}"
        for name in ("training", "evaluation", "baselines")
        if name != "baselines" or most.baselines
    ]
    return ", ".join(told)


def _minutes(minutes: Sequence[float]) -> str:
    return f"{_range(*(max(1.0, m) for m in minutes))} min"


def _range(least: float, most: float) -> str:
    told = f"{least:,.0f}", f"{most:,.0f}"
    return told[0] if told[0] == told[1] else " to ".join(told)


def _part(minutes: Sequence[float]) -> str:
    return "less than 1 min" if max(minutes) < 0.5 else _minutes(minutes)


def _segments(config: ExperimentConfig) -> str:
    if config.budget.env_steps is None:
        return "as many as there is time for:"
    return str(round(config.budget.env_steps / config.segment_steps))


def _budget(config: ExperimentConfig) -> str:
    steps, seconds = config.budget.env_steps, config.budget.seconds
    given = [f"{steps:,} env steps"] if steps is not None else []
    given += [f"{seconds:g} s"] if seconds is not None else []
    return " or ".join(given)


def _iterations(config: ExperimentConfig) -> str:
    interval = config.evaluation.interval
    return "iteration" if interval == 1 else f"{interval} iterations"


@dataclasses.dataclass(frozen=True)
class _Steps:
    """The length of episodes and the duration of a step.

    Attributes:
        least: Mean length of a random policy's episodes, in env steps.
        most: Env steps at which the environment ends an episode; `least` if it has no such limit.
        seconds: Duration of a step of the environment alone.
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
        # The environment may refuse random actions, so no episode is tried.
        return _Steps(least=limit or UNKNOWN_STEPS, most=limit or UNKNOWN_STEPS, seconds=0.0)
    # A wrapped environment has no native version; RLlib's processes step single environments, too.
    evaluator = Evaluator(lambda: gymnasium.Wrapper(make()), max_episode_steps=1_000)
    try:
        seeds = draw(config.seed, "baseline", 4, 1)
        started = time.process_time()
        episodes = evaluator.run(RandomPolicy(evaluator.action_space), seeds)
        seconds = (time.process_time() - started) / max(1, sum(episodes.lengths))
    except Exception as error:
        # An environment is user code and may raise anything.
        raise ConfigError(
            f"env: an episode at random fails: {type(error).__name__}: {error}. Expected an environment "
            f"that can be reset and stepped to its end. {LEGAL}"
        ) from error
    finally:
        evaluator.close()
    least = sum(episodes.lengths) / len(episodes.lengths)
    return _Steps(least=least, most=max(least, float(limit or 0)), seconds=seconds)
