"""Decision cards: what each front point costs in return, and how to ship it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rllib_ext.envs.shift import UNSHIFTED
from search.front.format import marks, number, percent, share, span
from search.front.membership import scale_from, usable
from search.front.results import EXPORT, Results
from search.report.episode import Episode, episode_of
from search.report.exported import as_exported, measured_form
from search.report.network import Network, network_of
from search.report.take_it import command, exports

Row = dict[str, str]


@dataclasses.dataclass(frozen=True)
class Card:
    """The facts about a front point that a decision needs.

    Attributes:
        policy: The snapshot's id.
        picked: Name of the pick that it is; empty for none.
        weights: Its non-zero weights.
        total: Weights of the whole network.
        sparsity: In words.
        loss: Return given up, on selection episodes: per cent of the dense policy's gain over a random
            one, or where that isn't known the return below the front's best.
        facts: Name, figure and what stands below it, in words.
        shifts: The same of each shift.
        command: Command that exports it; empty if its policy is gone.
        exports: A row for each form that was exported.
        network: Its drawing.
        episode: Its film.
    """

    policy: str
    picked: str
    weights: int
    total: int
    sparsity: str
    loss: float
    facts: list[Row]
    shifts: list[Row]
    command: str
    exports: list[Row]
    network: Network
    episode: Episode


@dataclasses.dataclass(frozen=True)
class Choice:
    """All cards of a report.

    Attributes:
        cards: One a front point, the densest first.
        chosen: Number of the one that is shown first.
        gain: Whether losses are shares of the dense policy's gain, in per cent; otherwise returns.
        start: The loss that is allowed at first.
    """

    cards: list[Card]
    chosen: int
    gain: bool
    start: float

    @property
    def least(self) -> float:
        """The smallest loss on offer, rounded down; below 0 where one is better than dense."""
        return math.floor(min(card.loss for card in self.cards))

    @property
    def most(self) -> float:
        """The greatest loss on offer, rounded up."""
        return math.ceil(max(*(card.loss for card in self.cards), self.start))

    def as_json(self) -> str:
        """Returns the plain numbers and ids that the page's controls need."""
        points = [
            {"policy": c.policy, "weights": c.weights, "loss": round(c.loss, 3)} for c in self.cards
        ]
        text = json.dumps({"points": points, "chosen": self.chosen, "start": self.start})
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def choice(results: Results) -> Choice | None:
    """The cards of a search; None where its front is empty."""
    rows = results.confirmed.table.to_dict("records")
    if not rows:
        return None
    selection = scale_from(usable(results.evaluations, "selection"), results.baseline_records)
    scored = results.confirmed.table["selection_return"].to_numpy(float)
    gain = not selection.note
    losses = 100.0 * (1.0 - selection.retained(scored)) if gain else np.max(scored) - scored
    picked = results.confirmed.pick(results.pick) if results.pick else ""
    cards = [
        _card(results, row, float(loss)) for row, loss in zip(rows, losses, strict=True)
    ]  # fmt: skip
    chosen = next((i for i, card in enumerate(cards) if card.policy == picked), len(cards) - 1)
    least = results.goal.min_retained
    wanted = math.nan if least is None else max(0.0, 100.0 * (1.0 - least))
    asked = {"goal": wanted, "keeps_95": 5.0, "keeps_99": 1.0}.get(results.pick, math.nan)
    own = math.ceil(10.0 * cards[chosen].loss) / 10.0
    return Choice(cards, chosen, gain, asked if gain and math.isfinite(asked) else own)


def _card(results: Results, row: Mapping[Any, Any], loss: float) -> Card:
    policy = str(row["snapshot_id"])
    return Card(
        policy=policy,
        picked=marks(row),
        weights=int(row["nonzero_params"]),
        total=int(row["total_params"]),
        sparsity=percent(row["sparsity"]),
        loss=loss,
        facts=[_return(results, row), _kept(results, row), _device(results, row), _sure(results, row)],
        shifts=_shifts(results, policy),
        command=command(results, row) if row["policy"] else "",
        exports=exports(results.folder / EXPORT / policy),
        network=network_of(results, row),
        episode=episode_of(results, row),
    )  # fmt: skip


def _fact(name: str, figure: str, below: str) -> Row:
    return {"name": name, "figure": figure, "below": below}


def _return(results: Results, row: Mapping[Any, Any]) -> Row:
    interval = span(row["return_ci_low"], row["return_ci_high"])
    below = f"95 % interval {interval}" if interval else str(row["return_note"]).split(";")[0]
    dense = results.confirmed.scale.dense
    against = f"; the dense policy {number(dense)}" if math.isfinite(dense) else ""
    return _fact("Return", number(row["return_mean"]), f"{below}{against}")


def _kept(results: Results, row: Mapping[Any, Any]) -> Row:
    note = results.confirmed.scale.note
    if note:
        return _fact("Return kept", "–", note)
    interval = span(row["retained_ci_low"], row["retained_ci_high"], share)
    below = f"95 % interval {interval}" if interval else "no interval: its returns don't vary"
    if not interval and math.isfinite(row["return_ci_low"]):
        below = "no interval: the dense or the random policy has no episodes"
    return _fact("Return kept", share(row["retained"]), f"{below}; 0 is random, 1 dense")


def _device(results: Results, row: Mapping[Any, Any]) -> Row:
    told = as_exported(row)
    if not told:
        note = row.get("export_note")
        return _fact("As exported", "–", str(note) if note else "not measured")
    dense = results.baselines.loc[results.baselines["name"] == "dense"].to_dict("records")
    same = [d for d in dense if measured_form(d) == measured_form(row)]
    below = (
        f"the dense policy {as_exported(same[0])}" if same else "measured on the search's machine"
    )
    return _fact("As exported", told, below)


def _sure(results: Results, row: Mapping[Any, Any]) -> Row:
    chance = row["p_nondominated"]
    below = "of resampled episodes leave it on the front"
    if not math.isfinite(chance):
        return _fact("Sure of its place", "–", "no episodes to resample")
    return _fact("Sure of its place", f"{100 * chance:.0f} %", below)


def _shifts(results: Results, policy: str) -> list[Row]:
    table = results.shifts
    return [
        _fact(
            "fresh episodes, no shift" if row["shift"] == UNSHIFTED else str(row["shift"]),
            share(row["retained"])
            if math.isfinite(row["retained"])
            else number(row["return_mean"]),
            _under(row),
        )
        for row in table[table["policy"] == policy].to_dict("records")
    ]


def _under(row: Mapping[Any, Any]) -> str:
    interval = span(row["return_ci_low"], row["return_ci_high"])
    return f"return {number(row['return_mean'])}" + (f" ({interval})" if interval else "")
