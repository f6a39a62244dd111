"""The kinds of baselines that are trained once the front is known."""

from __future__ import annotations

from typing import Literal, get_args

# A kind's seeds depend on its position in this list: append new kinds at the end.
Kind = Literal["random_masks", "small_dense", "train_then_prune", "linear", "tree"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TITLES: dict[str, str] = {
    "random_masks": "random masks",
    "small_dense": "small dense network",
    "train_then_prune": "trained once, then pruned",
    "linear": "linear policy",
    "tree": "decision tree",
}
