"""Warnings about a search's soundness, which a reader must know before believing a headline."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from search.config.baseline_kinds import KINDS
from search.front.format import MARKS, number, share
from search.front.membership import KEEPS
from search.front.results import Results
from search.front.weak_dense import WEAK
from search.report.record import DENSE, failures
from search.store.continued import limit_that_ended

# Less of the budget is a search that was cut short.
SPENT = 0.95
# What counts as the end of a budget, and growth of the front there that goes on.
END, GROWING = 0.9, 0.01
# The share of the front's points that must lie there.
MANY = 1 / 3


def weak_dense(results: Results) -> str:
    """Returns a warning that the dense baseline is too weak a reference; empty otherwise.

    That it is no better than a random policy is said by the scale's own note.
    """
    scale, table = results.confirmed.scale, results.confirmed.table
    if scale.note or not math.isfinite(scale.dense) or not len(table):
        return ""
    constant = results.baselines.loc[results.baselines["name"] == "constant", "return_mean"]
    if len(constant) and scale.dense <= constant.iloc[0]:
        return (
            f"But the dense baseline is not trained: its return of {number(scale.dense)} is no better "
            f"than {number(constant.iloc[0])} for one and the same action."
        )
    best = table.iloc[int(table["return_mean"].argmax())]
    # Returns that don't vary have no interval of what they retain; selection episodes tell all the same.
    surely = best["retained"] >= WEAK and best["retained_ci_low"] > 1.0
    if surely or (results.dense_is_weak and best["retained"] > 1.0):
        return (
            f"But the dense baseline is weak: it returns {number(scale.dense)}, and members of this "
            f"search that were pruned reached {number(best['return_mean'])}. Keeping a share of it is "
            "no proof that nothing was lost."
        )
    return ""


def health(results: Results) -> list[str]:
    """Returns one sentence per reason against trusting the front."""
    found = [_cut_short(results), _failures(results)]
    if len(results.confirmed.table):
        # All levels of `prunefront prune` are evaluated again: their scores decide nothing.
        noisy = "" if results.pruned else _noisy(results)
        found += [_at_the_end(results), *_unsettled(results), noisy]
    return [sentence for sentence in found if sentence]


def _cut_short(results: Results) -> str:
    spent = _of(results, "env_steps", "training")
    budget, seconds = _of(results, "budget", "env_steps"), _of(results, "budget", "seconds")
    # Of one that has not ended the front's own notes speak.
    if results.unfinished or not spent or not budget or spent >= SPENT * budget:
        return ""
    why = f" when its {number(seconds)} seconds were over" if seconds else ""
    return (
        f"The search was cut short: it ended after {number(spent)} of {number(budget)} env steps of "
        f"training{why}."
    )


def _failures(results: Results) -> str:
    # The dense baseline is trained again, or there is no front.
    rows = [row for row in failures(results) if row["member"] != DENSE]
    baselines = sum(_is_baseline(row["member"]) for row in rows)
    # A segment may be told of more than once: that it failed, and each return that is no number.
    segments = {(row["member"], row["segment"]) for row in rows if not _is_baseline(row["member"])}
    count, told = len(segments), []
    if count:
        are = "1 failure is" if count == 1 else f"{count:,} failures are"
        told.append(
            f"{are} recorded: members that failed have taught the search nothing meanwhile."
        )
    if baselines:
        of = "1 baseline" if baselines == 1 else f"{baselines:,} baselines"
        told.append(
            f"The training of {of} failed: the front may be held against less than was asked."
        )
    return " ".join(told)


def _is_baseline(member: str) -> bool:
    """Whether a failure's name is a baseline's: members have numbers."""
    return member.rpartition("-")[0] in KINDS


def _at_the_end(results: Results) -> str:
    """Returns a warning if the front was still improving when the budget was spent."""
    horizon = _of(results, "budget", "horizon")
    curve = results.hypervolume
    if not horizon or results.confirmed.scale.note or len(curve) < 2:
        return ""
    clock = {s.snapshot_id: s.env_steps for s in results.records}
    names = results.confirmed.table["snapshot_id"]
    late = sum(clock[name] >= END * horizon for name in names)
    area, steps = curve["over_decades"].to_numpy(float), curve["env_steps"].to_numpy(float)
    before = area[steps <= END * steps[-1]]
    if late < MANY * len(names) or not len(before) or not area[-1] > 0:
        return ""
    growth = 1.0 - before[-1] / area[-1]
    if growth < GROWING:
        return ""
    return (
        f"The front was still improving: its hypervolume grew by {100 * growth:.0f} % in the last tenth "
        f"of the search, and {late} of its {len(names)} points end their member's training. More budget "
        f"would probably find better ones: {_with_more(results)}"
    )


def _with_more(results: Results) -> str:
    """Returns how to extend the search."""
    if results.manifest.get("strategy") == "train_then_prune":
        return "begin a new search with more, for this one's was shared out"
    trained = _of(results, "env_steps", "training")
    return f"prunefront resume DIR budget.{limit_that_ended(results.manifest['budget'], trained)}=…"


def _unsettled(results: Results) -> list[str]:
    """Picks whose own interval doesn't bear them out."""
    told, front = [], results.confirmed
    for column, least in KEEPS.items():
        for row in front.table[front.table[column].astype(bool)].to_dict("records"):
            if row["retained_ci_low"] < least:
                low, high = share(row["retained_ci_low"]), share(row["retained_ci_high"])
                told.append(
                    f"Whether {row['snapshot_id']} {MARKS[column]} is not settled: its "
                    f"{front.figures} episodes say between {low} and {high}."
                )
    return told


def _noisy(results: Results) -> str:
    """Returns a warning if the search's own scores can't tell the front's points apart."""
    table = results.confirmed.table
    apart = np.abs(np.diff(table["return_mean"].to_numpy(float)))
    by_id = {s.snapshot_id: s for s in results.records}
    scores = [by_id[name] for name in table["snapshot_id"]]
    errors = [s.return_std / math.sqrt(s.episodes) for s in scores if s.episodes > 1]
    if not len(apart) or not errors:
        return ""
    error, step = float(np.median(errors)), float(np.median(apart))
    if not error > step:
        return ""
    return (
        "Evaluation is noisier than what it decides: a search score, the mean of "
        f"{scores[0].episodes} episodes, has a standard error of {number(error)}, while neighbours on "
        f"the front are {number(step)} apart. More evaluation.episodes would choose better."
    )


def _of(results: Results, section: str, key: str) -> float:
    """A number of the manifest; 0 where it isn't there."""
    values: Any = results.manifest.get(section)
    found = values.get(key) if isinstance(values, dict) else None
    return float(found) if isinstance(found, int | float) else 0.0
