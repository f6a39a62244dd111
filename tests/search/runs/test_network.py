import pytest
from pretended_search import coordinated

from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.network import Network
from search.runs.check import describe_plan
from search.runs.network import (
    described,
    described_goal,
    fewest_weights,
    refuse_unreachable_goal,
)

CARTPOLE = Network(((64, 4), (64, 64), (2, 64)))
TARGET = "pruning.final_sparsity"


def searched(high, **more):
    space = {TARGET: {"type": "float", "low": 0.3, "high": high}}
    return coordinated(search={"space": space}, **more)


def test_a_plan_says_which_network_is_pruned_and_how_far():
    config = searched(0.998, ppo={"rl_module": {"model_config": {"fcnet_hiddens": [64, 64]}}})
    assert "network     4→64→64→2, 4,480 prunable weights, searched down to 9" in (
        describe_plan(config)
    )
    # A misspelt size is refused, and one that is another than meant is seen.
    wide = coordinated(ppo={"rl_module": {"model_config": {"fcnet_hiddens": [256, 256]}}})
    assert "network     4→256→256→2, 67,072 prunable weights" in describe_plan(wide)


@pytest.mark.parametrize(
    ("config", "fewest"),
    [
        (searched(0.9), 448),
        # One path of live weights always stays.
        (searched(0.9999), 3),
        (searched(0.9999, pruning={"count": "kept"}), 0),
        (coordinated(search={"space": {"training.lr": {"type": "float", "low": 1e-4, "high": 1e-2}}},
                     pruning={"final_sparsity": 0.75}), 1_120),
        (coordinated(search={"space": {"training.lr": {"type": "float", "low": 1e-4, "high": 1e-2}}},
                     pruning={"final_sparsity": None, "threshold": 0.1}), None),
    ],
)  # fmt: skip
def test_the_fewest_weights_are_those_of_the_highest_target(config, fewest):
    assert fewest_weights(config, CARTPOLE) == fewest


def test_what_is_not_searched_is_pruned_to():
    lr = {"training.lr": {"type": "float", "low": 1e-4, "high": 1e-2}}
    config = coordinated(search={"space": lr}, pruning={"final_sparsity": 0.75})
    assert described(config, CARTPOLE).endswith("4,480 prunable weights, pruned to 1,120")
    config = coordinated(search={"space": lr}, pruning={"final_sparsity": None, "threshold": 0.1})
    assert described(config, CARTPOLE).endswith("4,480 prunable weights")


def test_a_goal_that_no_member_can_reach_is_refused_before_anything_trains():
    with pytest.raises(ConfigError, match=r"members keep 448 of 4,480 .* reach 0\.977679") as told:
        refuse_unreachable_goal(searched(0.9, goal={"max_weights": 100}), CARTPOLE)
    # What the message asks for is enough.
    needed = float(str(told.value).rpartition("reach ")[2].split()[0])
    refuse_unreachable_goal(searched(needed, goal={"max_weights": 100}), CARTPOLE)
    with pytest.raises(ConfigError, match=r"no more than 4,480 prunable weights"):
        refuse_unreachable_goal(searched(0.9, goal={"max_weights": 4_480}), CARTPOLE)
    with pytest.raises(ConfigError, match=r"goal\.max_weights = 2"):
        describe_plan(searched(0.9, goal={"max_weights": 2}))
    refuse_unreachable_goal(searched(0.9, goal={"min_retained": 0.95}), CARTPOLE)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, ""),
        ({"goal": {"max_weights": 100}}, "75% of the targets lie at 50 to 100 weights"),
        ({"goal": {"min_retained": 0.95}}, "lie at the fewest weights known to keep enough"),
        ({"goal": {"max_weights": 100}, "strategy": "train_then_prune"}, "spread evenly"),
    ],
)
def test_a_plan_says_what_is_aimed_at(more, told):
    goal = described_goal(coordinated(**more), CARTPOLE)
    assert told in goal
    assert bool(goal) == bool(told)


def test_a_goal_is_not_said_to_be_aimed_at_where_targets_are_some_given_values():
    """No strategy sets out for another value than those, so none lies nearer than they do."""
    space = {TARGET: {"type": "choice", "choices": [0.5, 0.99]}}
    config = coordinated(search={"space": space}, goal={"max_weights": 100})
    told = f"at most 100 weights; {TARGET} is one of some values, so only ranks favour it"
    assert described_goal(config, CARTPOLE) == told


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((2, 4),), "4→2"),
        (((16, 4, 3, 3), (5, 144)), "2 weight matrices, 1 of them convolutions"),
        (((256, 4), (256, 64), (2, 64)), "3 weight matrices"),
        ((), "0 weight matrices"),
    ],
)
def test_networks_in_words(shapes, words):
    network = Network(shapes)
    assert network.in_words == words
    assert network.layers == len(shapes)
