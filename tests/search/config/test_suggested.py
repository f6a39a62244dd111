"""From facts about an environment to a configuration: network, budget and evaluation fit."""

import dataclasses
import math
import re
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.config.loading import load_config, parse_config, parse_yaml
from search.config.reference import schema
from search.config.suggested import LONGEST_TRIED, Facts, filters_for, suggested

VECTOR = Facts(
    env="CartPole-v1",
    env_config={},
    extras=(),
    observed="vector",
    shape=(4,),
    continuous=False,
    steps=22.0,
    limit=500,
    seen="observations 4 of float32, actions Discrete(2)",
)
CONFIGS = Path(__file__).parents[3] / "configs"
SHAPES = {
    "vector": st.tuples(st.integers(1, 2_000)),
    "flattened": st.tuples(st.integers(1, 2_000)),
    "image": st.tuples(st.integers(4, 300), st.integers(4, 300), st.integers(1, 4)),
}
FACTS = st.sampled_from(sorted(SHAPES)).flatmap(
    lambda observed: st.builds(
        Facts,
        env=st.sampled_from(
            ["CartPole-v1", "ALE/Pong-v5", "my_envs.maze:Maze", "ale_py:ALE/Pong-v5"]
        ),
        env_config=st.dictionaries(
            st.sampled_from(["size", "on", "map"]),
            st.one_of(st.booleans(), st.integers(), st.text(), st.lists(st.text(), max_size=2)),
        ),
        extras=st.sampled_from([(), ("mujoco",)]),
        observed=st.just(observed),
        shape=SHAPES[observed],
        continuous=st.booleans(),
        steps=st.floats(1.0, LONGEST_TRIED),
        limit=st.one_of(st.none(), st.integers(1, 100_000)),
        seen=st.just("observations, and actions"),
    )
)


def read(facts, name="mine", **how):
    return parse_config(parse_yaml(suggested(facts, name, **how), "it"), "it")


def but(**changes):
    return read(dataclasses.replace(VECTOR, **changes))


def test_the_schema_takes_it_too():
    jsonschema.validate(parse_yaml(suggested(VECTOR, "mine"), "it"), schema())


@settings(deadline=None, derandomize=True, max_examples=20)
@given(facts=FACTS, memory=st.booleans())
def test_whatever_is_known_it_is_a_configuration_of_that_environment(facts, memory):
    config = read(facts, memory=memory)
    assert (config.name, config.env, config.env_config) == ("mine", facts.env, facts.env_config)
    assert config.extras == facts.extras
    model = config.ppo.rl_module["model_config"]
    assert ("conv_filters" in model) == (facts.observed == "image")
    assert ("fcnet_hiddens" in model) == (facts.observed != "image")
    assert model.get("use_lstm", False) == memory
    flattens = "env_to_module_connector" in config.ppo.env_runners
    assert flattens == (facts.observed == "flattened")
    # A member trains a few iterations a segment; its evaluation is left to be sized.
    assert config.segment_steps >= 2 * config.ppo.training["train_batch_size_per_learner"]
    assert not config.evaluation.model_fields_set
    assert config.budget.env_steps == config.horizon * config.population.members


@settings(deadline=None, derandomize=True, max_examples=50)
@given(facts=FACTS)
def test_lines_are_as_long_as_an_editor_shows(facts):
    facts = dataclasses.replace(facts, env_config={})
    assert max(map(len, suggested(facts, "mine").splitlines())) <= 100


def test_continuous_control_is_normalised_and_discrete_actions_are_not():
    assert but(continuous=True).ppo.preprocess.normalize is True
    assert but().ppo.preprocess.normalize is False


def test_of_images_only_rewards_are_normalised():
    image = but(continuous=True, observed="image", shape=(84, 84, 3))
    assert image.ppo.preprocess.normalize == "rewards"


def test_a_larger_problem_gets_a_longer_horizon_and_a_wider_network():
    small, large = but(continuous=True, shape=(3,)), but(continuous=True, shape=(100,))
    assert small.horizon < large.horizon
    hiddens = [c.ppo.rl_module["model_config"]["fcnet_hiddens"] for c in (small, large)]
    assert hiddens == [[64, 64], [128, 128]]


@settings(deadline=None, derandomize=True)
@given(shape=SHAPES["image"])
def test_a_cnn_makes_an_image_small(shape):
    side = max(shape[:2])
    for channels, kernel, stride in filters_for(shape):
        assert 16 <= channels <= 64
        assert kernel >= stride
        side = math.ceil(side / stride)
    assert side <= 12


def test_what_no_random_episode_reaches_is_said():
    endless = dataclasses.replace(VECTOR, steps=float(LONGEST_TRIED), limit=None)
    told = " ".join(suggested(endless, "mine").replace("\n#", "").split())
    assert "No episode of a random policy ended within 2,000 steps" in told
    assert "give it one" in told
    assert "give it one" not in suggested(VECTOR, "mine")


def test_the_goal_that_it_mentions_can_be_set():
    text = suggested(VECTOR, "mine")
    assert not read(VECTOR).goal.given
    uncommented = text.replace("# goal:", "goal:")
    assert parse_config(parse_yaml(uncommented, "it"), "it").goal.min_retained == 0.95


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("observed", ["vector", "image"])
def test_batches_epochs_and_the_learning_rate_are_those_of_the_configuration_that_it_names(
    observed, continuous, memory
):
    shape = {"vector": (8,), "image": (10, 10, 4)}[observed]
    facts = dataclasses.replace(VECTOR, observed=observed, shape=shape, continuous=continuous)
    (named,) = re.findall(r"\w+\.yaml", suggested(facts, "mine", memory=memory))
    found = read(facts, memory=memory).ppo.training
    expected = load_config(CONFIGS / named).ppo.training
    for key in ("train_batch_size_per_learner", "minibatch_size", "num_epochs"):
        assert found[key] == expected[key]
    first = [lr["from"] if isinstance(lr, dict) else lr for lr in (found["lr"], expected["lr"])]
    assert first[0] == first[1]
