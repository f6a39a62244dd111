"""What a configuration accepts, and how it refuses."""

import dataclasses
import json

import pytest

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError, PrunefrontError


def test_defaults_are_a_configuration() -> None:
    config = PruningConfig()
    assert (config.final_sparsity, config.schedule, config.criterion) == (0.9, "cubic", "magnitude")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"final_sparsity": 1.0}, r"final_sparsity = 1\.0; expected a number in \[0, 1\)"),
        ({"final_sparsity": -0.1}, r"final_sparsity = -0\.1; expected a number in \[0, 1\)"),
        ({"final_sparsity": float("nan")}, "final_sparsity = nan"),
        ({"final_sparsity": True}, "final_sparsity = True"),
        ({"critic_final_sparsity": 1.0}, r"critic_final_sparsity = 1\.0"),
        ({"threshold": -1e-9}, r"threshold = -1e-09; expected a number in \[0, inf\)"),
        ({"threshold": float("inf")}, "threshold = inf"),
        ({"begin": -0.1}, r"begin = -0\.1"),
        ({"end": 1.1}, r"end = 1\.1"),
        ({"begin": 0.9, "end": 0.8}, r"begin = 0\.9 lies after end = 0\.8.*begin <= end"),
        ({"horizon": 0}, "horizon = 0; expected env steps above 0"),
        ({"step": 0.0}, r"step = 0\.0; expected a number in \(0, 1\]"),
        ({"step": 0.1, "min_step": 0.2}, r"min_step = 0\.2; expected a number in \(0, 0\.1\]"),
        ({"tolerance": 1.5}, r"tolerance = 1\.5"),
        ({"patience": -1}, "patience = -1"),
        ({"patience": 2.5}, r"patience = 2\.5; expected a whole number"),
        ({"horizon": "1e5"}, "horizon = '1e5'; expected a whole number"),
        ({"begin": "soon"}, "begin = 'soon'; expected a number"),
        ({"begin": None}, "begin = None; expected a number"),
        ({"final_sparsity": [0.5]}, r"final_sparsity = \[0\.5\]; expected a number"),
        ({"random_return": "low"}, "random_return = 'low'; expected a number"),
        ({"exclude": "pi.*"}, r"exclude = 'pi\.\*'; expected a list of patterns"),
        ({"exclude": 5}, "exclude = 5; expected a list of patterns"),
        ({"exclude": [1]}, r"exclude = \[1\]; expected a list of patterns"),
        ({"damage": 3}, "damage = 3; expected for each layer points"),
        ({"final_sparsity": None}, "neither final_sparsity nor threshold"),
        ({"schedule": "cubik"}, "schedule = 'cubik'.*Did you mean 'cubic'"),
        ({"criterion": "magnitud"}, "criterion = 'magnitud'.*Did you mean 'magnitude'"),
        ({"scope": "gobal"}, "scope = 'gobal'.*Did you mean 'global'"),
        ({"granularity": "wait"}, "granularity = 'wait'; expected one of weight"),
        ({"threshold_unit": "stdev"}, "threshold_unit = 'stdev'.*Did you mean 'std'"),
        ({"window": 0}, "window = 0; expected 1 or more minibatches"),
        ({"round_share": 1.0}, r"round_share = 1\.0; expected a number in \(0, 1\)"),
        ({"regrow_share": 0.0}, r"regrow_share = 0\.0; expected a number in \(0, 1\)"),
        ({"regrow_interval": 0.0}, r"regrow_interval = 0\.0; expected a number in \(0, 1\]"),
        (
            {"regrow": "rigel"},
            "regrow = 'rigel'; expected one of set, rigl, None. Did you mean 'rigl'",
        ),
        ({"regrow": "set"}, "regrow = 'set'.*schedule = 'cubic'.*Set schedule='constant'"),
        (
            {"regrow": "set", "schedule": "constant", "threshold": 0.1},
            "regrow = 'set'.*no threshold",
        ),
        (
            {"regrow": "set", "schedule": "constant", "final_sparsity": None, "threshold": 0.1},
            "regrow = 'set'.*expected final_sparsity",
        ),
        ({"rewind_to": 0.1}, "rewind_to = 0.1, but schedule = 'cubic'.*schedule='iterative'"),
        (
            {"rewind_to": 0.3, "schedule": "iterative", "begin": 0.2},
            r"rewind_to = 0\.3; expected a number in \[0, 0\.2\]",
        ),
        (
            {"schedule": "iterative", "final_sparsity": None, "threshold": 0.1},
            "schedule='iterative'.*Give final_sparsity",
        ),
        ({"criterion": "sensitivity"}, "criterion='sensitivity'.*measure_sensitivity"),
        ({"start": "small"}, "start = 'small'; expected one of dense, narrow, sparse"),
        ({"start_density": 0.0}, r"start_density = 0\.0; expected a number in \(0, 1\]"),
        ({"start_density": 1.1}, r"start_density = 1\.1"),
        (
            {"start": "sparse", "granularity": "neuron"},
            "start = 'sparse'.*granularity = 'neuron'.*Set granularity='weight', or start='narrow'",
        ),
        (
            {"start": "narrow", "final_sparsity": None, "threshold": 0.1},
            "start = 'narrow'.*Give start_density",
        ),
        ({"damage": {"pi": []}}, r"damage of 'pi' = \[\]; expected points"),
        ({"damage": {"pi": [(0.5, 0.1), (0.5, 0.2)]}}, "damage of 'pi'.*rising sparsity"),
        ({"damage": {"pi": [(1.5, 0.1)]}}, "damage of 'pi'.*rising sparsity"),
        ({"damage": {"pi": [(0.5, -0.1)]}}, "damage of 'pi'.*0 or more"),
        ({"damage": {"pi": [(0.5, float("nan"))]}}, "damage of 'pi'.*finite"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(values, message) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        PruningConfig(**values)
    assert isinstance(caught.value, PrunefrontError)
    assert isinstance(caught.value, ValueError)


def test_edges_are_accepted() -> None:
    PruningConfig(final_sparsity=0.0, begin=0.0, end=0.0, step=1.0, min_step=1.0, tolerance=0.0)
    PruningConfig(final_sparsity=0.999, begin=1.0, end=1.0, patience=0, tolerance=1.0)
    PruningConfig(final_sparsity=None, threshold=0.0)


def test_a_start_has_as_many_weights_as_its_density_says_or_as_are_to_be_left() -> None:
    assert PruningConfig(start_density=0.1).starting_sparsity == 0.0
    assert PruningConfig(start="narrow", start_density=0.25).starting_sparsity == 0.75
    assert PruningConfig(start="sparse", final_sparsity=0.8).starting_sparsity == 0.8
    by_threshold = {"final_sparsity": None, "threshold": 0.1, "start_density": 1.0}
    assert PruningConfig(start="sparse", **by_threshold).starting_sparsity == 0.0


def test_an_unknown_key_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'final_sparsty'.*'final_sparsity'"):
        PruningConfig.from_dict({"final_sparsty": 0.5})
    with pytest.raises(ConfigError, match=r"unknown key 'zzz'.*Known keys: final_sparsity"):
        PruningConfig.from_dict({"zzz": 1})


def test_plain_values_make_an_equal_configuration() -> None:
    config = PruningConfig(final_sparsity=0.7, threshold=0.1, exclude=("pi.*",), horizon=1000)
    plain = json.loads(json.dumps(config.to_dict()))
    assert PruningConfig.from_dict(plain) == config


def test_measured_damage_survives_plain_values_and_may_be_a_mapping() -> None:
    points = {"pi.weight": [(0.5, 0.1), (0.9, 2.0)], "encoder.weight": [[0.5, 0.0]]}
    config = PruningConfig(criterion="sensitivity", damage=points)
    assert config.damage == (
        ("pi.weight", ((0.5, 0.1), (0.9, 2.0))),
        ("encoder.weight", ((0.5, 0.0),)),
    )
    assert PruningConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert hash(config) == hash(config.replace())


def test_it_is_frozen_and_replace_validates() -> None:
    config = PruningConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.begin = 0.5
    assert config.replace(begin=0.5).begin == 0.5
    with pytest.raises(ConfigError):
        config.replace(begin=0.9)
