"""Defines the episodes on which linear policies and trees learn from the dense policy and are chosen."""

from __future__ import annotations

import dataclasses

from search.config.experiment import ExperimentConfig
from search.config.seeds import draw
from search.population.baseline_plan import Planned

# Episodes that the dense policy plays, and that the previous tree plays in each further round of a tree.
EPISODES = 10
# Rounds of fitting a tree. The first tree is fitted to the dense policy's own episodes, each later one
# also to the dense policy's answers to the observations that the previous tree encountered.
ROUNDS = 8
# Episodes for choosing among fitted policies, on seeds that are used for nothing else. Each round of a
# tree fits two trees.
CHOOSING = 20
# Total number of episodes played for one policy of each kind.
TREE_EPISODES = ROUNDS * (EPISODES + 2 * CHOOSING)
LINEAR_EPISODES = EPISODES + 2 * CHOOSING


@dataclasses.dataclass(frozen=True)
class Lesson:
    """The teacher, size limit and episode seeds for fitting a linear policy or a tree.

    Attributes:
        dense: Folder of the dense policy, relative to the results folder.
        size: Maximum number of weights, or of numbers in a tree.
        rounds: Seeds of the episodes to learn from, by round.
        choosing: Seeds of the episodes for choosing among fitted policies.
    """

    dense: str
    size: int
    rounds: tuple[tuple[int, ...], ...]
    choosing: tuple[int, ...]


def lesson_of(config: ExperimentConfig, dense: str, plan: Planned) -> Lesson:
    """Returns the lesson of a linear policy or a tree.

    Args:
        config: The experiment.
        dense: Folder of the dense policy, relative to the results folder.
        plan: Baseline to fit.
    """
    seeds = draw(config.seed, "baseline", EPISODES * ROUNDS, 3)
    rounds = tuple(seeds[i : i + EPISODES] for i in range(0, len(seeds), EPISODES))
    choosing = draw(config.seed, "baseline", CHOOSING, 4)
    return Lesson(dense, plan.weights, rounds, choosing)
