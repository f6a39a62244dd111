import pytest
from ray.tune import PlacementGroupFactory

from rllib_ext.pruning.errors import ConfigError
from search.cluster.machines import amounts, offered, slots_on, this_machine

SMALL, LARGE = {"CPU": 2.0}, {"CPU": 16.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("machines", "needed", "slots"),
    [
        ([SMALL], [{"CPU": 1}], 2),
        ([SMALL, SMALL], [{"CPU": 2}], 2),
        ([SMALL, SMALL], [{"CPU": 1}, {"CPU": 2}], 1),
        ([SMALL, LARGE], [{"CPU": 4, "GPU": 0.5}], 2),
        ([{"CPU": 3.0}, {"CPU": 3.0}], [{"CPU": 2}], 2),
    ],
)
def test_as_many_fit_as_each_machine_holds_by_itself(machines, needed, slots):
    assert slots_on(machines, PlacementGroupFactory(needed), "member") == slots


@pytest.mark.parametrize(
    ("machines", "needed", "says"),
    [
        ([SMALL], [{"CPU": 3}], r"takes 3 CPU, but the machine has 2 CPU and no GPU\. Lower"),
        ([SMALL], [{"CPU": 1}, {"CPU": 1}, {"CPU": 1}], "takes 3 CPU"),
        ([SMALL], [{"CPU": 1, "GPU": 0.25}], "takes 1 CPU, 0.25 GPU.* at 0"),
        ([LARGE], [{"CPU": 1, "GPU": 1}, {"CPU": 1, "GPU": 1}], r"2 GPU.* and 1 GPU\."),
        # Enough in all, but no machine holds a process.
        (
            [{"CPU": 4.0}, SMALL],
            [{"CPU": 3}, {"CPU": 3}],
            "takes 6 CPU in processes of 3 CPU and 3",
        ),
        ([SMALL, SMALL], [{"CPU": 3}], "a process of a pack takes 3 CPU, .* 2 machines with 4 CPU"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_mend(machines, needed, says):
    with pytest.raises(ConfigError, match=says):
        slots_on(machines, PlacementGroupFactory(needed), "pack")


def test_this_machine_is_counted_as_ray_counts_it():
    assert this_machine()["CPU"] >= 1


def test_resources_are_shown_without_what_is_not_taken():
    assert amounts({"GPU": 0.5, "CPU": 2.0, "TPU": 0}) == "2 CPU, 0.5 GPU"
    assert offered([SMALL, LARGE]) == "2 machines with 18 CPU and 1 GPU"
