"""The sensitivity table and the damage that follows from it."""

import json

import pytest

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.sensitivity_table import Measurement, SensitivityTable, ordered


def table(episodes: int = 10) -> SensitivityTable:
    values = [("pi", 0.9, 90.0, 2.0), ("encoder", 0.5, 505.0, 0.01), ("pi", 0.5, 450.0, 0.3)]
    return SensitivityTable(
        return_mean=500.0,
        return_std=1.0,
        episodes=episodes,
        measurements=ordered(
            Measurement(layer=name, sparsity=s, return_mean=r, return_std=0.0, kl=kl)
            for name, s, r, kl in values
        ),
    )


def test_damage_is_the_divergence_or_what_the_return_lost() -> None:
    assert table().damage() == {"pi": [(0.5, 0.3), (0.9, 2.0)], "encoder": [(0.5, 0.01)]}
    # A return above that of the dense policy is no damage.
    assert table().damage("return") == {"pi": [(0.5, 50.0), (0.9, 410.0)], "encoder": [(0.5, 0.0)]}


def test_returns_that_were_not_measured_are_not_made_up() -> None:
    with pytest.raises(ValueError, match="not measured"):
        table(episodes=0).damage("return")


def test_damage_is_what_a_configuration_takes() -> None:
    config = PruningConfig(criterion="sensitivity", damage=table().damage())
    assert dict(config.damage)["pi"] == ((0.5, 0.3), (0.9, 2.0))


def test_rows_are_plain_and_in_order() -> None:
    rows = json.loads(json.dumps(table().rows()))
    assert [(row["layer"], row["sparsity"]) for row in rows] == [
        ("pi", 0.5),
        ("pi", 0.9),
        ("encoder", 0.5),
    ]
    assert rows[0]["return_lost"] == 50.0
