"""How a plain policy learns from the dense one: on which episodes, and how it is chosen."""

from __future__ import annotations

import dataclasses

from search.config.experiment import ExperimentConfig
from search.config.seeds import draw
from search.population.baseline_plan import Planned

# Episodes of the dense policy, and of what imitates it in each further round of a tree.
EPISODES = 10
# Rounds of a tree: its first is fitted to the dense policy's own episodes, each further one also to the
# dense policy's answers to what the tree before it came to see.
ROUNDS = 8
# Episodes that choose among what was fitted, on seeds that nothing else plays. Each round of a tree fits
# two.
CHOOSING = 20
# Episodes that are played for one of each.
TREE_EPISODES = ROUNDS * (EPISODES + 2 * CHOOSING)
LINEAR_EPISODES = EPISODES + 2 * CHOOSING


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What is learned, and from whom.

    Attributes:
        dense: Folder of the dense policy, relative to the results folder.
        size: Weights, or a tree's numbers, at most.
        rounds: Seeds of the episodes that are learned from, by round.
        choosing: Seeds of the episodes that choose.
    """

    dense: str
    size: int
    rounds: tuple[tuple[int, ...], ...]
    choosing: tuple[int, ...]


def lesson_of(config: ExperimentConfig, dense: str, plan: Planned) -> Lesson:
    """The lesson of a linear policy or a tree.

    Args:
        config: The experiment.
        dense: Folder of the dense policy, relative to the results folder.
        plan: What is to be fitted.
    """
    seeds = draw(config.seed, "baseline", EPISODES * ROUNDS, 3)
    rounds = tuple(seeds[i : i + EPISODES] for i in range(0, len(seeds), EPISODES))
    choosing = draw(config.seed, "baseline", CHOOSING, 4)
    return Lesson(dense, plan.weights, rounds, choosing)
