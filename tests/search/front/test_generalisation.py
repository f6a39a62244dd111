"""The generalisation table, made from episodes with a known scale."""

import json

import numpy as np
import pandas as pd
import pytest

from search.front.generalisation import (
    SHIFT_COLUMNS,
    ShiftedEpisodes,
    add_shifted,
    generalisation,
    known_episodes,
    read_shifted,
)
from search.report import write_report
from search.report.generalisation import generalisation_rows
from search.report.notebook import load

SEEDS = list(range(900, 960))
SIZES = {"dense": (0.0, 4480), "m0": (0.99, 45), "random": (float("nan"), 0)}


def record(policy, returns, shift="gravity = 15", seeds=SEEDS, **settings):
    return ShiftedEpisodes(
        shift=shift,
        settings=settings or {"set": {"gravity": 15}},
        policy=policy,
        seeds=list(seeds),
        returns=[float(r) for r in returns],
        lengths=[1] * len(seeds),
    )


def spread(mean, width=10.0, seed=0):
    values = np.random.default_rng(seed).normal(size=len(SEEDS))
    return mean + width * (values - values.mean())


def played(shift="gravity = 15", dense=320.0, own=220.0, random=20.0):
    return [
        record("m0", spread(own, seed=1), shift),
        record("random", spread(random, seed=2), shift),
        record("dense", spread(dense, seed=3), shift),
    ]


def test_retained_is_measured_under_the_shift():
    table = generalisation(
        [*played(), *played("noise", dense=120.0, own=100.0)], SIZES, np.random.default_rng(0)
    )
    assert list(table.columns) == list(SHIFT_COLUMNS)
    assert list(table["policy"]) == ["dense", "m0", "random"] * 2
    kept = table.set_index(["shift", "policy"])["retained"]
    assert kept["gravity = 15", "m0"] == pytest.approx((220 - 20) / (320 - 20))
    assert kept["noise", "m0"] == pytest.approx((100 - 20) / (120 - 20))
    assert kept["noise", "dense"] == 1.0
    assert kept["noise", "random"] == 0.0


def test_intervals_hold_the_mean_and_shrink_where_the_seeds_agree():
    rng = np.random.default_rng(0)
    own = generalisation(played(), SIZES, rng).set_index("policy")
    row = own.loc["m0"]
    assert row["return_ci_low"] < 220 < row["return_ci_high"]
    expected = 1.96 * 10 / np.sqrt(len(SEEDS))
    assert row["return_ci_high"] - 220 == pytest.approx(expected, rel=0.3)
    assert row["retained_ci_low"] < row["retained"] < row["retained_ci_high"]


def test_a_shift_that_the_dense_policy_does_not_survive_has_no_retained():
    table = generalisation(played(dense=20.0), SIZES, np.random.default_rng(0))
    assert table["retained"].isna().all()
    assert table["return_mean"].notna().all()


def test_unusable_returns_and_unknown_policies_are_left_out():
    broken = record("m0", [np.nan] * len(SEEDS))
    table = generalisation(
        [broken, *played()[1:], record("gone", spread(3.0))], SIZES, np.random.default_rng(0)
    )
    assert list(table["policy"]) == ["dense", "random"]


def test_shifts_accumulate_and_of_one_shift_and_policy_the_last_counts(tmp_path):
    for each in (*played(), *played("noise"), record("m0", spread(7.0))):
        add_shifted(tmp_path, each)
    found = read_shifted(tmp_path)
    assert len(found) == 6
    means = {(r.shift, r.policy): np.mean(r.returns) for r in found}
    assert means["gravity = 15", "m0"] == pytest.approx(7.0)
    assert means["noise", "m0"] == pytest.approx(220.0)


def test_only_episodes_on_the_very_seeds_are_known():
    records = [*played(), record("m0", spread(1.0)[:5], "noise", SEEDS[:5])]
    assert known_episodes(records, SEEDS) == {
        ("gravity = 15", p) for p in ("m0", "random", "dense")
    }


def test_the_report_shows_the_front_under_each_shift(simulate, tmp_path):
    folder = simulate(tmp_path / "shifted").folder
    before = load(folder)
    assert generalisation_rows(before) == []
    front = before.front
    policies = ["dense", *front["snapshot_id"], "random"]
    for shift, lost in (("gravity = 15", 0.5), ("noise <b>", 0.25)):
        for policy in policies:
            mean = 22.0 if policy == "random" else 22.0 + 478.0 * lost
            add_shifted(folder, record(policy, spread(mean), shift))
    page = write_report(folder).read_text()
    text = (folder / "report.md").read_text()
    table = pd.read_csv(folder / "shift.csv")
    assert list(table.columns) == list(SHIFT_COLUMNS)
    assert sorted(table["policy"]) == sorted(policies * 2)
    assert json.loads(table["settings"][0]) == {"set": {"gravity": 15}}
    assert 'id="generalisation"' in page
    assert "noise <b>" not in page
    lines = text[text.index("## Generalisation") :].split("\n\n")[1].splitlines()
    assert lines[0].startswith(
        "| policy | picked as | non-zero weights | as trained | gravity = 15 |"
    )
    assert len(lines) == 2 + len(policies)
    assert lines[2].startswith("| dense | baseline | 4,480 |")
    # Densest first; the random policy, which is no network, last.
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == policies
    assert "261.0 (" in lines[2]
