"""How much evaluation a search gets where its configuration leaves that open."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pretended_search import coordinated

from search.config.loading import load_config
from search.config.sizing import (
    GRANTED_SECONDS,
    SHARE,
    SIZED,
    Costs,
    episodes_of,
    sized,
    sized_as,
    training_env_steps,
)

# HalfCheetah in a pack: 52 µs a step of training, 43 µs of evaluation.
CHEETAH = Costs(training=52e-6, evaluation=43e-6)
BATCH = 2_048


def million(**evaluation):
    """The search of eight members for a million env steps each."""
    return coordinated(members=8, segments=8, env_steps=8_000_000, evaluation=evaluation)


def seconds(config, length, costs, batch=BATCH):
    spent = episodes_of(config, batch)
    return (spent.during + spent.after) * length * costs.evaluation


def test_evaluation_takes_at_most_a_quarter_of_training_s_time():
    config = million()
    training = training_env_steps(config) * CHEETAH.training
    assert seconds(config, 1_000, CHEETAH) > training
    fitting, told = sized(config, BATCH, 1_000, CHEETAH)
    assert 0.1 * training < seconds(fitting, 1_000, CHEETAH) <= SHARE * training
    own = fitting.evaluation
    assert own.interval > 2
    assert (own.episodes, own.candidates) <= (10, 16)
    assert min(own.selection_episodes, own.report_episodes) >= 10
    for name in SIZED:
        changed = getattr(own, name) != getattr(config.evaluation, name)
        assert changed == bool(
            re.search(rf"evaluation\.{name} = {getattr(own, name)} instead", told)
        )
    assert re.search(r"episodes of up to 1,000 steps, evaluation takes about (1|2)\d% of", told)


def test_what_is_cheap_stays_as_it_is():
    for length, costs in ((100, CHEETAH), (1_000, Costs(52e-6, 1e-6))):
        fitting, told = sized(million(), BATCH * 100, length, costs)
        assert told == ""
        assert fitting.evaluation == million().evaluation
    # Some seconds are granted to the smallest search.
    small = coordinated(members=4, segments=2, env_steps=4_000)
    fitting, told = sized(small, 500, 100, Costs(1e-5, 3e-6))
    assert seconds(small, 100, Costs(1e-5, 3e-6), 500) < GRANTED_SECONDS
    assert told == ""


def test_what_is_given_stays_and_the_rest_makes_room_for_it():
    config = million(report_episodes=100, interval=10)
    fitting, told = sized(config, BATCH, 1_000, CHEETAH)
    assert (fitting.evaluation.report_episodes, fitting.evaluation.interval) == (100, 10)
    assert "report_episodes" not in told
    assert fitting.evaluation.selection_episodes < 100
    everything = million(**{name: getattr(config.evaluation, name) for name in SIZED})
    assert sized(everything, BATCH, 1_000, CHEETAH) == (everything, "")


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(10_000, 10**8),
    batch=st.integers(100, 10_000),
    length=st.integers(1, 10_000),
    given=st.sets(st.sampled_from(SIZED)),
)
def test_it_fits_or_nothing_is_left_to_make_smaller(steps, batch, length, given):
    own = {"interval": 3, "episodes": 7, "candidates": 9, "selection_episodes": 40,
           "report_episodes": 50}  # fmt: skip
    config = coordinated(env_steps=steps, evaluation={name: own[name] for name in given})
    fitting, _ = sized(config, batch, length, CHEETAH)
    for name in SIZED:
        usual = getattr(config.evaluation, name)
        found = getattr(fitting.evaluation, name)
        assert found == usual or name not in given
        assert found >= usual if name == "interval" else found <= usual
    allowed = max(SHARE * training_env_steps(config) * CHEETAH.training, GRANTED_SECONDS)
    if seconds(fitting, length, CHEETAH, batch) > allowed:
        again = fitting.evaluation
        assert "candidates" in given or again.candidates == 4
        assert "report_episodes" in given or again.report_episodes == 10
        assert "episodes" in given or again.episodes == 3
        assert "interval" in given or batch * again.interval * 2 > config.segment_steps
    # Sized again, it stays as it is: a results folder's configuration says all of it.
    assert sized(fitting, batch, length, CHEETAH) == (fitting, "")


def test_a_search_that_goes_on_evaluates_as_it_began(tmp_path):
    config = million(candidates=5)
    began, _ = sized(config, BATCH, 1_000, CHEETAH)
    (tmp_path / "config.yaml").write_text(began.to_yaml())
    assert load_config(tmp_path / "config.yaml") == began
    assert sized_as(config, began) == began
    other = million(candidates=6)
    assert sized_as(other, began).evaluation.candidates == 6
    assert sized_as(other, began) != began


@pytest.mark.parametrize("name", SIZED)
def test_all_that_is_sized_is_a_setting(name):
    assert name in type(million().evaluation).model_fields
