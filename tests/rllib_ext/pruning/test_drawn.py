"""Ray Tune's search spaces in a pruning configuration."""

import dataclasses

import pytest
from ray import tune

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.drawn import drawn_fields, possible, refuse_undrawn
from rllib_ext.pruning.errors import ConfigError


def values(config, name):
    return sorted({getattr(made, name) for made in possible(config)})


def test_every_field_can_be_drawn():
    config = PruningConfig(
        final_sparsity=tune.loguniform(0.5, 0.99),
        schedule=tune.choice(["cubic", "linear"]),
        begin=tune.quniform(0.0, 0.2, 0.1),
        patience=tune.randint(1, 5),
        criterion={"grid_search": ["magnitude", "gradient"]},
        horizon=1000,
    )
    assert set(drawn_fields(config)) == {
        "final_sparsity", "schedule", "begin", "patience", "criterion"
    }  # fmt: skip
    assert values(config, "patience") == [1, 4]
    assert values(config, "begin") == [0.0, 0.2]
    assert values(config, "schedule") == ["cubic", "linear"]
    assert values(config, "criterion") == ["gradient", "magnitude"]
    assert 0.98 < max(values(config, "final_sparsity")) < 0.99
    assert not any(drawn_fields(made) for made in possible(config))
    again = PruningConfig.from_dict(config.to_dict())
    assert drawn_fields(again) == drawn_fields(config)


def test_the_open_end_of_a_range_is_never_drawn():
    assert max(values(PruningConfig(final_sparsity=tune.uniform(0.5, 1.0)), "final_sparsity")) < 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"final_sparsity": tune.uniform(0.5, 1.2)}, r"final_sparsity = 1\.19.*in \[0, 1\)"),
        ({"final_sparsity": tune.uniform(-0.5, 0.9)}, r"final_sparsity = -0\.5"),
        ({"schedule": tune.choice(["cubic", "qubic"])}, "Did you mean 'cubic'"),
        ({"criterion": {"grid_search": ["magnitud"]}}, "criterion = 'magnitud'"),
        ({"begin": tune.uniform(0.5, 0.9), "end": 0.3}, "begin = 0.5 lies after end = 0.3"),
        ({"final_sparsity": tune.uniform(0.5, 0.9), "patience": -1}, "patience = -1"),
    ],
)
def test_what_no_draw_can_make_right_is_refused_at_once(changes, message):
    with pytest.raises(ConfigError, match=message):
        PruningConfig(**changes)


def test_ranges_that_overlap_are_for_the_tuner_to_draw_from():
    config = PruningConfig(begin=tune.uniform(0.0, 0.5), end=tune.uniform(0.3, 1.0))
    assert all(made.begin <= made.end for made in possible(config))


def test_what_has_no_ends_is_left_to_the_tuner():
    config = PruningConfig(final_sparsity=tune.sample_from(lambda spec: 0.7), horizon=10)
    assert [made.final_sparsity for made in possible(config)] == [0.9]


def test_of_many_spaces_fewer_combinations_are_looked_at():
    names = ("begin", "critic_final_sparsity", "tolerance", "round_share", "final_sparsity",
             "regrow_share", "regrow_interval", "min_step", "step")  # fmt: skip
    config = PruningConfig(**dict.fromkeys(names, tune.uniform(0.1, 0.11)))
    assert len(possible(config)) <= 4 * len(names)
    with pytest.raises(ConfigError, match=r"tolerance = 1\.99"):
        dataclasses.replace(config, tolerance=tune.uniform(0.1, 2.0))


def test_a_configuration_without_spaces_is_the_only_possible_one():
    config = PruningConfig()
    assert possible(config) == [config]
    refuse_undrawn(config)


def test_what_is_undrawn_is_refused_where_a_value_is_needed():
    with pytest.raises(ConfigError, match=r"final_sparsity = .* yet to be drawn.*param_space"):
        refuse_undrawn(PruningConfig(final_sparsity=tune.uniform(0.5, 0.9)))
