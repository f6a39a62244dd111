"""Searches one of RLlib's examples in a process of its own: python searched_example.py NAME FOLDER."""

import sys
from pathlib import Path

from example_scripts import BATCH, Example
from examples_envs import EXAMPLES
from examples_modules import LEARNERS, MODULES

import search

MEMBERS = 2
SEGMENTS = 2


def example(name: str) -> Example:
    return next(e for e in [*MODULES, *LEARNERS, *EXAMPLES] if e.name == name)


def settings(granularity: str) -> dict:
    return {
        "budget": {"env_steps": MEMBERS * SEGMENTS * 2 * BATCH},
        "population": {"members": MEMBERS, "segments": SEGMENTS},
        "pruning": {"granularity": granularity, "schedule": "linear", "begin": 0.1, "end": 0.6},
        "search": {
            "strategy": "random",
            "space": {"pruning.final_sparsity": {"type": "float", "low": 0.3, "high": 0.7}},
        },
        "evaluation": {
            "interval": 1,
            "episodes": 2,
            "candidates": 2,
            "selection_episodes": 3,
            "report_episodes": 3,
            "shifts": [],
        },
        # So little training is no better than a random policy, and what is infeasible isn't kept.
        "baselines": {
            "untrained": False,
            "random_masks": 0,
            "small_dense": 0,
            "train_then_prune": 0,
            "linear": 0,
            "tree": 0,
        },
    }


if __name__ == "__main__":
    name, granularity, folder = sys.argv[1:]
    config = example(name).build(Path(folder).parent)
    search.run(config, settings(granularity), output=folder, quiet=True)
