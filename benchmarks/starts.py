"""Compares searches over how lineages start: `make bench NAME=starts ARGS="--envs CartPole-v1"`.

This is an ablation (see `benchmarks.ablation` for how pairs are run and compared, and for further
arguments): in one arm all lineages start dense, in the other dense, narrow or sparse, as the study
proposes. A start has as many weights as its lineage is to end with; `--density LOW HIGH` searches the
start's density as well.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks import ablation

MIXED = "search.space.pruning.start={type: choice, choices: [dense, narrow, sparse]}"
DENSITY = "search.space.pruning.start_density={{type: float, low: {}, high: {}, scale: log}}"


def main() -> None:
    """Runs the ablation of starts."""
    sys.argv[1:] = words(sys.argv[1:])
    ablation.main()


def words(given: Sequence[str]) -> list[str]:
    """Returns the ablation's command line.

    Args:
        given: Command-line arguments in addition to the arms.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--density", type=float, nargs=2)
    own, others = parser.parse_known_args(given)
    with_starts = [MIXED, *([DENSITY.format(*own.density)] if own.density else [])]
    return ["--of", *with_starts, *others]


if __name__ == "__main__":
    main()
