"""Chooses the amount of evaluation in a search where the configuration leaves it open.

All costs are counted in env steps and nominal seconds, never measured, so that the same configuration
gives the same search on every machine.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from search.config.baseline_kinds import KINDS
from search.config.experiment import EvaluationSettings, ExperimentConfig

# Settings of `evaluation` that are sized unless the configuration gives them.
SIZED = ("interval", "episodes", "candidates", "selection_episodes", "report_episodes")
# Evaluation may take up to this share of training's time …
SHARE = 0.25
# … but at least this many seconds: starting Ray alone takes longer.
GRANTED_SECONDS = 10.0
# Number of policies that play held-out episodes besides the candidates: dense, random and constant.
ALWAYS = 3

# Candidates, selection and report episodes, from the most to the fewest that still distinguish policies.
_AFTERWARDS = (
    (16, 100, 100),
    (16, 80, 80),
    (16, 60, 60),
    (14, 50, 50),
    (12, 40, 40),
    (10, 30, 30),
    (8, 30, 30),
    (8, 20, 20),
    (6, 20, 20),
    (6, 15, 15),
    (4, 15, 15),
    (4, 10, 10),
)
_FEWER_EPISODES, _FEWEST_EPISODES = 5, 3
_OFTEN = 4


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds that an env step takes on one CPU.

    Attributes:
        training: Seconds per env step of training.
        evaluation: Seconds per env step of evaluation.
    """

    training: float
    evaluation: float


@dataclasses.dataclass(frozen=True)
class Spent:
    """Numbers of evaluation episodes of a search.

    Attributes:
        during: Episodes while members train.
        after: Episodes after training, of the candidates and all baselines.
    """

    during: int
    after: int


def episodes_of(config: ExperimentConfig, batch: int) -> Spent:
    """Returns the number of evaluation episodes of a search, without those under shifts.

    Args:
        config: The experiment.
        batch: Env steps of a training iteration.
    """
    own = config.evaluation
    a_segment = math.ceil(_iterations(config, batch) / own.interval)
    # The dense baseline is evaluated only at the end of its training.
    lineages = _members_env_steps(config) / config.horizon
    during = math.ceil(lineages * config.population.segments * a_segment) * own.episodes
    trained = sum(getattr(config.baselines, kind) for kind in KINDS)
    policies = own.candidates + ALWAYS + trained
    return Spent(during, policies * (own.selection_episodes + own.report_episodes))


def training_env_steps(config: ExperimentConfig) -> int:
    """Returns the training env steps of all members and the dense baseline.

    If the budget limits only the time, each member counts with one horizon.
    """
    return _members_env_steps(config) + config.horizon


def sized(
    config: ExperimentConfig, batch: int, length: float, costs: Costs
) -> tuple[ExperimentConfig, str]:
    """Returns a configuration whose evaluation takes at most `SHARE` of training's time.

    At least `GRANTED_SECONDS` are allowed. Settings that are given stay unchanged. The larger part –
    evaluation during training or after it – is reduced first, until both fit or neither can be reduced
    further.

    Args:
        config: The experiment.
        batch: Env steps of a training iteration.
        length: Largest number of env steps of an episode.
        costs: Seconds per env step.

    Returns:
        The configuration with all of `SIZED` set, and a message that says what was reduced and why;
        the message is empty if nothing was.
    """
    seconds = max(SHARE * training_env_steps(config) * costs.training, GRANTED_SECONDS)
    allowed = seconds / (length * costs.evaluation)
    given = config.evaluation.model_fields_set
    usual = {name: getattr(config.evaluation, name) for name in SIZED}
    parts = {
        "during": _smaller(_during(config, batch), usual, given),
        "after": _smaller(_afterwards(), usual, given),
    }
    chosen = dict(usual)
    while True:
        fitting = _with(config, chosen)
        spent = episodes_of(fitting, batch)
        if spent.during + spent.after <= allowed or not parts:
            break
        part = "during" if spent.during > spent.after else "after"
        part = part if part in parts else next(iter(parts))
        try:
            chosen |= next(parts[part])
        except StopIteration:
            del parts[part]
    changed = {name: value for name, value in chosen.items() if value != usual[name]}
    if not changed:
        return fitting, ""
    told = ", ".join(f"evaluation.{n} = {v} instead of {usual[n]}" for n, v in changed.items())
    takes = (spent.during + spent.after) * length * costs.evaluation
    share = takes / (training_env_steps(config) * costs.training)
    return fitting, (
        f"{told}: with episodes of up to {length:,.0f} steps, evaluation takes about {share:.0%} of "
        "training's time. Set them in the configuration to have them otherwise"
    )


def sized_as(config: ExperimentConfig, began: ExperimentConfig) -> ExperimentConfig:
    """Returns a configuration whose open settings are those that a search began with."""
    given = config.evaluation.model_fields_set
    found = _with(config, {n: getattr(began.evaluation, n) for n in SIZED if n not in given})
    if config.vectorize == "auto":
        found = found.model_copy(update={"vectorize": began.vectorize})
    return found


def _with(config: ExperimentConfig, values: dict[str, int]) -> ExperimentConfig:
    evaluation: EvaluationSettings = config.evaluation.model_copy(update=values)
    return config.model_copy(update={"evaluation": evaluation})


def _smaller(
    levels: Iterator[dict[str, int]], usual: dict[str, int], given: set[str]
) -> Iterator[dict[str, int]]:
    """Yields the settings of each level that aren't given, if any of them differs from the usual."""
    for level in levels:
        open_ones = {name: value for name, value in level.items() if name not in given}
        if any(value != usual[name] for name, value in open_ones.items()):
            yield open_ones


def _afterwards() -> Iterator[dict[str, int]]:
    for level in _AFTERWARDS:
        yield dict(zip(("candidates", "selection_episodes", "report_episodes"), level, strict=True))


def _during(config: ExperimentConfig, batch: int) -> Iterator[dict[str, int]]:
    """Yields rarer evaluations, down to a few per segment; then shorter ones; then one per segment."""
    iterations = _iterations(config, batch)
    interval, episodes = config.evaluation.interval, config.evaluation.episodes
    for least, fewer in ((_OFTEN, _FEWER_EPISODES), (1, _FEWEST_EPISODES)):
        while math.ceil(iterations / (2 * interval)) >= least and interval < iterations:
            interval *= 2
            yield {"interval": interval, "episodes": episodes}
        episodes = min(episodes, fewer)
        yield {"interval": interval, "episodes": episodes}


def _members_env_steps(config: ExperimentConfig) -> int:
    return config.budget.env_steps or config.horizon * config.population.members


def _iterations(config: ExperimentConfig, batch: int) -> int:
    """Returns the number of training iterations in a segment."""
    return max(1, math.ceil(config.segment_steps / batch))
