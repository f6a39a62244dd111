import numpy as np
import pytest

from benchmarks.shared.packed_tables import (
    adam_steps_a_batch,
    members_of,
    parts_table,
    ratio,
    ratio_table,
    speed_table,
)

BATCH = 100
ROUNDS = (1.0, 2.0, 5.0)


def turn(steps, cpu, **more):
    return {"steps": steps, "cpu": cpu, "wall": 2 * cpu, "adam_steps": 0, "first": 1.5,
            "megabytes": 300.0, **more}  # fmt: skip


def rounds(speed, **more):
    """Turns on a machine that is as many times as slow in each round."""
    return [turn(speed * 10, 10.0 * slow, **more) for slow in ROUNDS]


def packs(*engines):
    parts = {"shares": (0.1, 0.2, 0.3, 0.4), "env_alone": 4_000.0}
    return {name: rounds(speed, **(parts if "packed" in name else {})) for name, speed in engines}


def cells(table):
    """The rows of a table, by the engine's name of 25 letters."""
    return {line[:25].strip(): line[25:].split() for line in table.splitlines()}


@pytest.mark.parametrize(
    ("name", "members"),
    [("rllib", 1), ("packed P=4", 4), ("packed P=16, one by one", 16), ("jax P=64", 64)],
)
def test_an_engine_is_named_for_how_many_it_trains(name, members):
    assert members_of(name) == members


def test_a_ratio_is_taken_within_each_round():
    turns = packs(("packed P=1", 600), ("rllib", 200))
    # Speeds differ fivefold from round to round, the ratio not at all.
    assert ratio(turns, "packed P=1", "rllib", np.random.default_rng(0)) == pytest.approx((3, 3, 3))
    assert cells(speed_table(turns, BATCH))["packed P=1"][:4] == ["300", "(210", "–", "450)"]


def test_a_pack_is_held_against_the_one_in_jax_of_as_many_members():
    turns = packs(
        ("rllib", 100), ("packed P=1", 200), ("packed P=16", 800), ("packed P=16, one by one", 400),
        ("packed P=4", 1), ("jax P=1", 400), ("jax P=16", 1600),
    )  # fmt: skip
    found = cells(ratio_table(turns))
    assert found["packed P=1"] == ["2.00", "(2.00", "–", "2.00)", "0.50", "(0.50", "–", "0.50)"]
    assert found["packed P=16"][::4] == ["8.00", "0.50"]
    assert found["packed P=16, one by one"][::4] == ["4.00", "0.25"]
    # There is none of four in JAX.
    assert found["packed P=4"][4:] == ["–"]
    assert set(found) == {"times as fast as", *(name for name in turns if "packed" in name)}


def test_peers_that_were_left_out_have_no_column():
    with_sbx = ratio_table(packs(("packed P=1", 2), ("sbx", 1), ("rllib", 1)))
    assert "sbx" in with_sbx
    assert "jax" not in with_sbx
    assert "stable-baselines3" not in with_sbx
    assert ratio_table(packs(("packed P=1", 2))) == ""
    assert ratio_table(packs(("sbx", 2))) == parts_table(packs(("sbx", 2))) == ""


def test_adam_steps_are_those_of_a_member_for_its_own_batch():
    # Four members share 800 env steps: two batches each.
    turns = {"jax P=4": [turn(800, 1.0, adam_steps=32), turn(400, 1.0, adam_steps=16)]}
    assert adam_steps_a_batch(turns, "jax P=4", BATCH) == 16.0
    assert cells(speed_table(turns, BATCH))["jax P=4"][-1] == "16.0"


def test_parts_are_shares_of_a_packs_time():
    found = cells(parts_table(packs(("packed P=1", 1_000), ("rllib", 1))))
    assert found["packed P=1"] == ["10%", "20%", "30%", "40%", "4,000", "8.0"]
    assert "rllib" not in found
