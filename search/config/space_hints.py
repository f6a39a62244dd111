"""Hints for mistyped paths of searched hyperparameters. Imports neither Ray nor torch."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from rllib_ext.base.hints import ELSEWHERE, nearest
from rllib_ext.rl.settings.ranges import RANGED

GROUPS = ("pruning", "training")


def space_hint(path: str, pruning: Collection[str]) -> str:
    """Returns a hint to append to an error message; each level of the path is matched separately.

    Args:
        path: Path given under `search.space` that isn't a hyperparameter.
        pruning: Names that can follow `pruning.`.
    """
    known = {"pruning": sorted(pruning), "training": sorted(RANGED)}
    group, dot, name = path.partition(".")
    if not dot:
        group = next((g for g in GROUPS if path.startswith(f"{g}_")), "")
        name = path.removeprefix(f"{group}_")
    name = ELSEWHERE.get(name, name)
    having = [g for g in GROUPS if name in known[g]]
    likely = difflib.get_close_matches(group or path, GROUPS, n=1, cutoff=0.6)
    for among in (having, likely):
        if among:
            near = difflib.get_close_matches(name, known[among[0]], n=1, cutoff=0.5)
            return (
                f" Did you mean {f'{among[0]}.{near[0]}'!r}?" if near else _all_of(known[among[0]])
            )
    paths = [f"{g}.{n}" for g in GROUPS for n in known[g]]
    by_name = {p.partition(".")[2]: p for p in paths}
    near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.5)
    return f" Did you mean {by_name[near[0]]!r}?" if near else nearest(path, paths)


def _all_of(names: Collection[str]) -> str:
    return f" Known: {', '.join(names)}."
