"""Bounds, moves, conditions and the study's view of the search space."""

import math

import numpy as np
import optuna
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from search.config.parameter import Parameter
from search.config.space import BIRTH, ONLY_UNDER, Space

KINDS = {
    "linear": {"type": "float", "low": -0.3, "high": 0.7},
    "log": {"type": "float", "low": 3e-5, "high": 0.2, "scale": "log"},
    "log_density": {"type": "float", "low": 0.1, "high": 0.998, "scale": "log_density"},
    "dense too": {"type": "float", "low": 0.0, "high": 0.9, "scale": "log_density"},
    "int": {"type": "int", "low": -3, "high": 11},
    "int log": {"type": "int", "low": 1, "high": 4096, "log": True},
    "choice": {"type": "choice", "choices": ["linear", "cubic", "plateau"]},
    "choice of numbers": {"type": "choice", "choices": [0.5, 0.9, 0.99]},
}


def parameter(**values):
    return TypeAdapter(Parameter).validate_python(values)


def space(fixed=None, **parameters):
    named = {name.replace("__", "."): parameter(**values) for name, values in parameters.items()}
    return Space(named, fixed)


def inside(kind, value):
    if "choices" in kind:
        return value in kind["choices"]
    whole = kind["type"] != "int" or type(value) is int
    return whole and kind["low"] <= value <= kind["high"]


def on_own_scale(kind, value):
    """The parameter's place on the scale on which it is uniform."""
    if kind.get("scale") == "log" or kind.get("log"):
        return math.log(value)
    return -math.log10(1.0 - value) if kind.get("scale") == "log_density" else float(value)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_ten_thousand_mutations_never_leave_the_bounds_and_reach_all_of_the_range(kind):
    rng = np.random.default_rng(1)
    one = parameter(**kind)
    value = one.draw(rng)
    seen = []
    for i in range(10_000):
        value = one.perturb(value, (0.02, 0.2, 1.0)[i % 3], rng)
        assert inside(kind, value)
        seen.append(value)
    if "choices" in kind:
        assert set(seen) == set(kind["choices"])
    else:
        places = [on_own_scale(kind, v) for v in seen]
        low, high = on_own_scale(kind, kind["low"]), on_own_scale(kind, kind["high"])
        assert min(places) < low + 0.02 * (high - low)
        assert max(places) > high - 0.02 * (high - low)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_draws_stay_in_the_bounds_and_are_uniform_on_the_own_scale(kind):
    rng = np.random.default_rng(2)
    one = parameter(**kind)
    values = [one.draw(rng) for _ in range(4_000)]
    assert all(inside(kind, v) for v in values)
    if "choices" in kind:
        counts = [values.count(choice) for choice in kind["choices"]]
        assert min(counts) > 0.8 * 4_000 / len(counts)
        return
    places = np.array([on_own_scale(kind, v) for v in values])
    low, high = on_own_scale(kind, kind["low"]), on_own_scale(kind, kind["high"])
    # Rounding to integers moves the quartiles of few values, and of log-uniform small ones.
    slack = 0.08 if kind["type"] == "int" else 0.03
    quartiles = (np.quantile(places, [0.25, 0.5, 0.75]) - low) / (high - low)
    np.testing.assert_allclose(quartiles, [0.25, 0.5, 0.75], atol=slack)


@pytest.mark.parametrize("strength", [0.0, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("name", ["linear", "log", "log_density", "dense too"])
def test_a_perturbation_moves_at_most_its_strength_of_the_range(name, strength):
    kind = KINDS[name]
    rng = np.random.default_rng(3)
    one = parameter(**kind)
    span = on_own_scale(kind, kind["high"]) - on_own_scale(kind, kind["low"])
    moves = []
    for _ in range(2_000):
        value = one.draw(rng)
        moved = one.perturb(value, strength, rng)
        moves.append((on_own_scale(kind, moved) - on_own_scale(kind, value)) / span)
    assert max(map(abs, moves)) <= strength + 1e-9
    assert max(moves) >= 0.9 * strength
    assert min(moves) <= -0.9 * strength


@pytest.mark.parametrize("reach", [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_nearest_value_within_reach(kind, reach):
    rng = np.random.default_rng(8)
    one = parameter(**kind)
    for _ in range(2_000):
        value, centre = one.draw(rng), one.draw(rng)
        found = one.within(value, centre, reach)
        assert inside(kind, found)
        if "choices" in kind:
            assert found == value
            continue
        places = [on_own_scale(kind, v) for v in (centre, value, found)]
        span = on_own_scale(kind, kind["high"]) - on_own_scale(kind, kind["low"])
        moved, wanted = (place - places[0] for place in (places[2], places[1]))
        if kind["type"] == "float":
            expected = math.copysign(min(abs(wanted), reach * span), wanted)
            assert moved == pytest.approx(expected, abs=1e-9 * span)
        else:
            assert abs(found - centre) <= abs(value - centre)
            assert found == value or abs(found - centre) >= 1
            if not kind.get("log"):
                assert abs(found - centre) <= max(1.0, reach * span)


def test_values_near_others_are_those_of_training_only():
    searched = space(
        pruning__final_sparsity=KINDS["log_density"],
        training__lr=KINDS["log"],
        training__b=KINDS["int"],
    )
    values = {"pruning.final_sparsity": 0.99, "training.lr": 0.2, "training.b": 11}
    centre = {"pruning.final_sparsity": 0.2, "training.lr": 3e-5}
    near = searched.near(values, centre, 0.5)
    assert near == {**values, "training.lr": pytest.approx((0.2 * 3e-5) ** 0.5)}


@pytest.mark.parametrize("strength", [0.01, 0.2])
def test_an_integer_always_moves_by_one_at_least_and_by_its_share_of_the_range_at_most(strength):
    rng = np.random.default_rng(4)
    one = parameter(**KINDS["int"])
    for _ in range(2_000):
        value = one.draw(rng)
        moved = one.perturb(value, strength, rng)
        assert abs(moved - value) <= max(1, round(strength * 14))
        assert moved != value or value in (-3, 11)


def test_a_logarithmic_integer_moves_in_proportion_to_its_value():
    rng = np.random.default_rng(5)
    one = parameter(**KINDS["int log"])
    reach = {v: max(abs(one.perturb(v, 0.1, rng) - v) for _ in range(300)) for v in (2, 64, 1024)}
    assert reach[2] <= 2
    assert 0.7 < reach[64] / 64 <= 0.1 * math.log(4096) + 0.01
    assert 0.7 < reach[1024] / 1024 <= 0.1 * math.log(4096) + 0.01


def test_a_choice_is_drawn_anew_with_probability_strength():
    rng = np.random.default_rng(6)
    one = parameter(**KINDS["choice"])
    changed = np.mean([one.perturb("cubic", 0.3, rng) != "cubic" for _ in range(5_000)])
    assert changed == pytest.approx(0.3 * 2 / 3, abs=0.02)
    assert {one.perturb("cubic", 0.0, rng) for _ in range(100)} == {"cubic"}


@pytest.mark.parametrize(
    ("kind", "value", "low", "high", "nearest"),
    [
        ("linear", 5.0, -math.inf, math.inf, 0.7),
        ("linear", -0.2, 0.1, math.inf, 0.1),
        ("linear", 0.5, -math.inf, 0.2, 0.2),
        ("linear", 0.5, 0.9, math.inf, 0.7),
        ("int", 2.4, -math.inf, math.inf, 2),
        ("int", 2, 2.1, math.inf, 3),
        ("int", 5, -math.inf, 4.9, 4),
        ("choice", "cosine", -math.inf, math.inf, "linear"),
        ("choice of numbers", 0.5, 0.6, math.inf, 0.9),
        ("choice of numbers", 0.5, 0.995, math.inf, 0.99),
        ("choice of numbers", 0.99, -math.inf, 0.95, 0.9),
        ("choice of numbers", 0.99, 0.6, math.inf, 0.99),
    ],
)
def test_the_nearest_value_is_within_the_bounds_first_and_within_the_limits_next(
    kind, value, low, high, nearest
):
    assert parameter(**KINDS[kind]).clip(value, low, high) == nearest


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"type": "float", "low": 1.0, "high": 1.0}, "not below"),
        ({"type": "float", "low": math.nan, "high": 1.0}, "finite"),
        ({"type": "float", "low": 0.0, "high": math.inf}, "finite"),
        ({"type": "float", "low": 0.0, "high": 1.0, "scale": "log"}, "needs low > 0"),
        ({"type": "float", "low": 0.5, "high": 1.0, "scale": "log_density"}, r"in \[0, 1\)"),
        ({"type": "float", "low": -0.5, "high": 0.9, "scale": "log_density"}, r"in \[0, 1\)"),
        ({"type": "float", "low": 0.0, "high": 1.0, "scale": "cubic"}, "linear"),
        ({"type": "int", "low": 4, "high": 2}, "not below"),
        ({"type": "int", "low": 0, "high": 2, "log": True}, "low >= 1"),
        ({"type": "int", "low": 0.5, "high": 2}, "integer"),
        ({"type": "choice", "choices": ["a"]}, "at least 2"),
        ({"type": "float", "low": 0.0, "high": 1.0, "log": True}, "not permitted"),
        ({"type": "uniform", "low": 0.0, "high": 1.0}, "uniform"),
    ],
)
def test_impossible_parameters_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        parameter(**values)


def whole_space(**fixed):
    return space(
        {"pruning.begin": 0.2, "pruning.end": 0.8, "pruning.min_step": 0.005, **fixed},
        pruning__patience={"type": "int", "low": 1, "high": 8},
        pruning__step={"type": "float", "low": 0.01, "high": 0.2, "scale": "log"},
        pruning__schedule={"type": "choice", "choices": ["cubic", "plateau"]},
        pruning__criterion={"type": "choice", "choices": ["magnitude", "gradient", "random"]},
        pruning__scope={"type": "choice", "choices": ["global", "layerwise"]},
        pruning__final_sparsity={
            "type": "float", "low": 0.3, "high": 0.99, "scale": "log_density",
        },
        pruning__begin={"type": "float", "low": 0.0, "high": 0.7},
        pruning__end={"type": "float", "low": 0.4, "high": 0.95},
        training__lr={"type": "float", "low": 1e-4, "high": 1e-2, "scale": "log"},
        training__num_epochs={"type": "int", "low": 1, "high": 32, "log": True},
    )  # fmt: skip


def test_what_belongs_to_a_lineage_is_inherited_by_every_mutation():
    rng = np.random.default_rng(7)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=7))
    searched = whole_space()
    donor = searched.suggest(study.ask())
    born = {path: donor[path] for path in BIRTH & donor.keys()}
    assert set(born) == {"pruning.criterion", "pruning.scope"}
    for _ in range(300):
        donor = searched.perturb(donor, 1.0, rng)
        assert {path: donor[path] for path in born} == born


def test_conditional_parameters_are_only_there_where_they_act():
    rng = np.random.default_rng(8)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=8))
    searched = whole_space()
    seen = set()
    values = searched.suggest(study.ask())
    for i in range(200):
        values = searched.suggest(study.ask()) if i % 2 else searched.perturb(values, 0.9, rng)
        schedule = values["pruning.schedule"]
        seen.add(schedule)
        present = {path for path in values if path in ONLY_UNDER}
        assert present == ({"pruning.patience", "pruning.step"} if schedule == "plateau" else set())
    assert seen == {"cubic", "plateau"}


def start_space(low=0.01, high=0.5, **fixed):
    return space(
        fixed,
        pruning__start_density={"type": "float", "low": low, "high": high, "scale": "log"},
        pruning__start={"type": "choice", "choices": ["dense", "narrow", "sparse"]},
        pruning__final_sparsity=KINDS["log_density"],
    )


def test_a_density_is_there_where_a_lineage_doesn_t_start_dense_and_stays_what_it_was():
    rng = np.random.default_rng(9)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=9))
    searched = start_space()
    seen = set()
    for _ in range(60):
        values = searched.born(searched.clip(searched.suggest(study.ask())))
        seen.add(values["pruning.start"])
        assert ("pruning.start_density" in values) == (values["pruning.start"] != "dense")
        moved = searched.perturb(values, 1.0, rng)
        for path in ("pruning.start", "pruning.start_density"):
            assert moved.get(path) == values.get(path)
    assert seen == {"dense", "narrow", "sparse"}


@pytest.mark.parametrize(
    ("density", "target", "born"),
    [(0.05, 0.9, 0.1), (0.2, 0.9, 0.2), (0.02, 0.998, 0.02), (0.1, 0.1, 0.5)],
)
def test_a_lineage_is_born_no_sparser_than_it_is_to_end_where_bounds_allow(density, target, born):
    values = {"pruning.start": "narrow", "pruning.start_density": density}
    found = start_space().born({**values, "pruning.final_sparsity": target})
    assert found["pruning.start_density"] == pytest.approx(born)
    # A target that isn't searched counts as well.
    fixed = start_space(**{"pruning.final_sparsity": target})
    assert fixed.born(values)["pruning.start_density"] == pytest.approx(born)
    dense = {"pruning.start": "dense", "pruning.final_sparsity": target}
    assert start_space().born(dense) == dense


def test_a_condition_looks_at_what_is_fixed_too():
    patience = {"pruning__patience": {"type": "int", "low": 1, "high": 8}}
    trial = optuna.create_study().ask()
    assert space({"pruning.schedule": "plateau"}, **patience).suggest(trial).keys() == {
        "pruning.patience"
    }
    assert space({"pruning.schedule": "cubic"}, **patience).suggest(trial) == {}


def test_a_parameter_that_the_donor_did_not_have_is_drawn():
    searched = whole_space()
    rng = np.random.default_rng(9)
    donor = {"pruning.schedule": "plateau", "training.lr": 1e-3}
    seen = {searched.perturb(donor, 0.0, rng)["pruning.patience"] for _ in range(100)}
    assert seen == set(range(1, 9))


VALUES = st.fixed_dictionaries(
    {
        "pruning.schedule": st.sampled_from(["cubic", "plateau", "unknown"]),
        "pruning.final_sparsity": st.floats(-1, 2),
        "pruning.begin": st.floats(-1, 2),
        "pruning.end": st.floats(-1, 2),
        "pruning.step": st.floats(0, 1),
        "training.lr": st.floats(0, 1),
        "training.num_epochs": st.integers(-5, 500),
    },
    optional={"pruning.criterion": st.sampled_from(["magnitude", "gradient"])},
)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(values=VALUES, reached=st.floats(0, 1), now=st.floats(0, 1))
def test_clipping_gives_values_within_bounds_that_keep_what_is_reached_and_begin_before_end(
    values, reached, now
):
    searched = whole_space()
    floors = {"pruning.final_sparsity": reached, "pruning.end": now}
    clipped = searched.clip(values, floors)
    for path, value in clipped.items():
        one = searched.parameters[path]
        assert one.clip(value) == value
    assert clipped["pruning.begin"] <= clipped["pruning.end"]
    assert clipped["pruning.final_sparsity"] >= min(reached, 0.99)
    assert clipped["pruning.end"] >= min(now, 0.95)
    # Clipping is done once it is done.
    assert searched.clip(clipped, floors) == clipped


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    begin=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    end=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    values=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_begin_and_end_are_put_in_order_within_any_bounds_that_allow_it(begin, end, values):
    assume(begin[0] < begin[1] and end[0] < end[1] and begin[0] <= end[1])
    bounds = {
        "pruning__begin": {"type": "float", "low": begin[0], "high": begin[1]},
        "pruning__end": {"type": "float", "low": end[0], "high": end[1]},
    }
    clipped = space(**bounds).clip({"pruning.begin": values[0], "pruning.end": values[1]})
    assert begin[0] <= clipped["pruning.begin"] <= begin[1]
    assert end[0] <= clipped["pruning.end"] <= end[1]
    assert clipped["pruning.begin"] <= clipped["pruning.end"]


def test_one_of_begin_and_end_gives_way_to_the_other_where_that_is_fixed():
    begin = {"pruning__begin": {"type": "float", "low": 0.0, "high": 0.9}}
    end = {"pruning__end": {"type": "float", "low": 0.1, "high": 0.9}}
    assert space({"pruning.end": 0.5}, **begin).clip({"pruning.begin": 0.8}) == {
        "pruning.begin": 0.5
    }
    assert space({"pruning.begin": 0.5}, **end).clip({"pruning.end": 0.2}) == {"pruning.end": 0.5}


def test_the_smallest_step_never_exceeds_the_step():
    searched = space(
        {"pruning.schedule": "plateau"},
        pruning__step={"type": "float", "low": 0.01, "high": 0.1},
        pruning__min_step={"type": "float", "low": 0.001, "high": 0.05},
    )
    rng = np.random.default_rng(10)
    values = {"pruning.step": 0.02, "pruning.min_step": 0.02}
    for _ in range(500):
        values = searched.perturb(values, 1.0, rng)
        assert values["pruning.min_step"] <= values["pruning.step"]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_value_that_the_study_is_told_comes_back_when_it_is_asked(kind):
    searched = space(training__x=kind)
    rng = np.random.default_rng(11)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    edges = kind.get("choices") or (kind["low"], kind["high"])
    for value in (*edges, *(searched.parameters["training.x"].draw(rng) for _ in range(20))):
        study.enqueue_trial(searched.for_optuna({"training.x": value}))
        back = searched.suggest(study.ask())["training.x"]
        assert back == value if isinstance(value, str) else back == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_study_proposes_within_the_bounds_and_on_the_own_scale(kind):
    searched = space(training__x=kind)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    values = [searched.suggest(study.ask())["training.x"] for _ in range(400)]
    assert all(inside(kind, v) for v in values)
    if "choices" not in kind:
        places = [on_own_scale(kind, v) for v in values]
        low, high = on_own_scale(kind, kind["low"]), on_own_scale(kind, kind["high"])
        assert (np.median(places) - low) / (high - low) == pytest.approx(0.5, abs=0.09)
