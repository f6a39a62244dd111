import pytest

from rllib_ext.envs.shift import Shift
from rllib_ext.pruning.errors import ConfigError


def test_a_shift_survives_the_way_through_plain_values():
    shift = Shift(noise=0.1, action_noise=0.2, set={"gravity": 15}, stochastic=True)
    assert shift.to_dict() == {
        "noise": 0.1,
        "action_noise": 0.2,
        "set": {"gravity": 15},
        "stochastic": True,
    }
    assert Shift.from_dict(shift.to_dict()) == shift
    assert Shift().to_dict() == {}


def test_a_label_tells_shifts_apart_and_no_shift_is_none():
    labels = [
        Shift(**values).label
        for values in (
            {},
            {"noise": 0.1},
            {"noise": 0.1, "noise_unit": "absolute"},
            {"action_noise": 0.1},
            {"set": {"gravity": 15, "length": 1.0}},
            {"stochastic": True},
            {"noise": 0.5, "set": {"gravity": 15}},
        )
    ]
    assert labels[0] == "none"
    assert labels[1] == "observation noise 0.1 std"
    assert labels[4] == "gravity = 15, length = 1"
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"noise": -1}, "noise = -1"),
        ({"action_noise": float("nan")}, "action_noise"),
        ({"noise": True}, "noise = True"),
        ({"noise_unit": "sd"}, "noise_unit = 'sd'"),
        ({"set": 3}, "set = 3"),
        ({"stochastic": 1}, "stochastic = 1"),
        ({"noize": 1}, "Did you mean 'noise'"),
    ],
)
def test_what_is_wrong_is_refused_by_name(values, said):
    with pytest.raises(ConfigError, match=said):
        Shift.from_dict(values)


def test_values_that_differ_have_names_that_differ():
    values = (1234567.0, 1234568.0, 0.1, 0.1 + 1e-9, 14.0)
    assert len({Shift(set={"x": value}).label for value in values}) == len(values)
    assert len({Shift(noise=value).label for value in values}) == len(values)
    assert Shift(set={"x": 14.0}).label == "x = 14"
