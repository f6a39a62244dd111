"""The decision card: what each point gives up, what it says of itself, which comes first."""

import dataclasses
import json

import numpy as np
import pytest
from plain_charts import plain_page

import search
from search.front.format import number, share
from search.front.generalisation import ShiftedEpisodes, add_shifted
from search.report.card import choice


@pytest.fixture(scope="module")
def results(finished):
    return search.load(finished.folder)


def test_each_point_has_a_card_and_the_verdicts_pick_is_shown_first(results):
    found = choice(results)
    assert [card.policy for card in found.cards] == list(results.front["snapshot_id"])
    assert found.cards[found.chosen].policy == results.confirmed.pick("keeps_95")
    assert found.gain
    assert found.start == 5.0
    text = plain_page(results)
    shown = [line for line in text.splitlines() if "<article" in line and " hidden>" not in line]
    assert len(shown) == 1
    assert results.confirmed.pick("keeps_95") in shown[0]


def test_five_per_cent_less_is_what_keeps_95_per_cent_says(results):
    found = choice(results)
    for column, allowed in (("keeps_95", 5.0), ("keeps_99", 1.0)):
        able = [card for card in found.cards if card.loss <= allowed]
        assert able[-1].policy == results.confirmed.pick(column)
    # Sparser points give up more.
    assert (np.diff([card.loss for card in found.cards]) > 0).all()
    assert found.least <= found.cards[0].loss
    assert found.most >= found.cards[-1].loss


def test_without_a_scale_losses_are_returns_below_the_best(results):
    alone = dataclasses.replace(
        results,
        baseline_records={},
        evaluations=[e for e in results.evaluations if e.snapshot_id not in ("dense", "random")],
    )
    found = choice(alone)
    assert not found.gain
    scores = alone.front["selection_return"]
    assert [card.loss for card in found.cards] == pytest.approx(list(scores.max() - scores))
    assert "below the best of the front" in plain_page(alone)


def test_a_card_says_what_the_table_says_and_names_what_was_not_done(results):
    found = choice(results)
    for card, row in zip(found.cards, results.front.to_dict("records"), strict=True):
        facts = {fact["name"]: fact for fact in card.facts}
        assert facts["Return"]["figure"] == number(row["return_mean"])
        assert facts["Return kept"]["figure"] == share(row["retained"])
        assert card.weights == row["nonzero_params"]
        assert not card.shifts
    assert "Not tried: name some under evaluation.shifts" in plain_page(results)


def test_shifts_stand_on_the_card_of_their_policy(simulate, tmp_path):
    folder = simulate(tmp_path / "a", members=4, segments=3).folder
    point = search.load(folder).front["snapshot_id"].iloc[-1]
    seeds = list(range(20))
    for policy, mean in (("random", 20.0), ("dense", 420.0), (point, 320.0)):
        returns = [mean + (5.0 if i % 2 else -5.0) for i in seeds]
        add_shifted(
            folder,
            ShiftedEpisodes(
                shift="action noise 0.1", settings={}, policy=policy, seeds=seeds, returns=returns,
                lengths=[1] * 20,
            ),
        )  # fmt: skip
    results = search.load(folder)
    cards = {card.policy: card for card in choice(results).cards}
    (told,) = cards[point].shifts
    assert told["name"] == "action noise 0.1"
    assert told["figure"] == "0.75"
    assert told["below"].startswith("return 320 (")
    assert not [card for name, card in cards.items() if name != point and card.shifts]


def test_the_controls_get_plain_numbers(results):
    told = json.loads(choice(results).as_json())
    assert [set(point) for point in told["points"]] == [{"policy", "weights", "loss"}] * len(
        results.front
    )


def test_without_a_front_there_is_no_card(simulate, tmp_path):
    world = simulate(tmp_path / "a", purposes=(), members=4, segments=2)
    results = search.load(world.folder)
    assert choice(results) is None
    text = plain_page(results)
    assert "data-card" not in text
    assert 'id="dials"' not in text


def test_an_interval_that_lacks_a_baselines_episodes_is_not_said_to_lack_variance(results):
    """The dense policy returned no number on fresh seeds: its search score stands for it."""
    lost = [
        dataclasses.replace(e, returns=[np.nan] * len(e.returns)) if e.snapshot_id == "dense" else e
        for e in results.evaluations
    ]
    found = dataclasses.replace(results, evaluations=lost)
    cards = choice(found).cards
    assert not found.confirmed.scale.note
    assert found.front["return_ci_low"].notna().all()
    told = {fact["below"] for card in cards for fact in card.facts if fact["name"] == "Return kept"}
    assert told == {
        "no interval: the dense or the random policy has no episodes; 0 is random, 1 dense"
    }
