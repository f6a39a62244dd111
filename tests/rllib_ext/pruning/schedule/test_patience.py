"""The plateau rule, evaluation by evaluation."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from rllib_ext.pruning.schedule.patience import (
    FALSE_ACCEPTANCES,
    WINDOW,
    Plateau,
    advance,
    sure_return,
)

RULE = {"tolerance": 0.1, "patience": 2, "min_step": 0.05, "random_return": 0.0}


def begun(step: float, value: float = 100.0) -> Plateau:
    """On trial at the first level, after a reference without noise."""
    actions, plateau = run([value] * WINDOW, Plateau(step=step))
    assert actions == ["hold"] * (WINDOW - 1) + ["raise"]
    return plateau


def run(returns: list[float], plateau: Plateau, **changes: float) -> tuple[list[str], Plateau]:
    actions = []
    for value in returns:
        action, plateau = advance(plateau, value, **{**RULE, **changes})
        actions.append(action)
    return actions, plateau


def test_the_level_rises_while_the_return_holds_thrice_a_level() -> None:
    actions, plateau = run([100.0] * 12, begun(0.25))
    assert actions == ["hold", "hold", "raise"] * 3 + ["hold"] * 3
    assert plateau.accepted == plateau.level == 1.0
    assert plateau.reference == 100.0


def test_it_waits_for_patience_then_rolls_back_and_halves_the_step() -> None:
    actions, plateau = run([50.0, 60.0, 70.0], begun(0.2))
    assert actions == ["hold", "hold", "roll_back"]
    assert plateau.level == plateau.accepted == 0.0
    assert plateau.step == 0.1
    assert plateau.waited == 0
    assert not plateau.ended


def test_what_was_rolled_back_is_tried_again_from_the_same_state() -> None:
    """The state that came back was accepted; one unlucky evaluation of it changes nothing."""
    _, plateau = run([50.0] * 3, begun(0.2))
    for value in (100.0, 10.0):
        actions, after = run([value], plateau)
        assert actions == ["retry"]
        assert after.level == 0.1
        assert after.reference == 100.0


def test_a_return_that_recovers_in_time_is_accepted() -> None:
    actions, plateau = run([50.0, 60.0, 95.0, 95.0, 95.0], begun(0.2))
    assert actions == ["hold"] * 4 + ["raise"]
    assert plateau.accepted == 0.2
    assert plateau.reference == 100.0
    assert plateau.waited == 0


def test_without_leave_to_rise_a_level_on_trial_is_accepted_or_rolled_back() -> None:
    trial = begun(0.2)
    actions, plateau = run([95.0] * 3 + [1.0], trial, may_raise=False)
    assert actions == ["hold"] * 4
    assert plateau.level == plateau.accepted == 0.2
    actions, plateau = run([50.0] * 4, trial, may_raise=False)
    assert actions == ["hold", "hold", "roll_back", "hold"]
    assert plateau.level == plateau.accepted == 0.0


def test_no_patience_rolls_back_at_once() -> None:
    actions, _ = run([50.0], begun(0.2), patience=0)
    assert actions == ["roll_back"]


def test_pruning_ends_below_the_smallest_step() -> None:
    actions, plateau = run([0.0], begun(0.08), patience=0)
    assert actions == ["roll_back"]
    assert plateau.ended
    actions, after = run([100.0] * 3, plateau)
    assert actions == ["hold"] * 3
    assert after.level == after.accepted == 0.0


def test_the_bar_is_a_share_of_what_was_learned() -> None:
    plateau = Plateau(step=0.1, reference=100.0)
    assert plateau.bar(0.1, random_return=20.0) == 100.0 - 0.1 * 80.0
    negative = Plateau(step=0.1, reference=-100.0)
    assert negative.bar(0.1, random_return=-500.0) == -140.0
    below_random = Plateau(step=0.1, reference=10.0)
    assert below_random.bar(0.1, random_return=20.0) == 10.0
    assert math.isnan(Plateau(step=0.1).bar(0.1, 0.0))


def test_the_reference_is_a_mean_of_several_evaluations() -> None:
    _, plateau = run([80.0, 90.0, 100.0, 110.0, 120.0], Plateau(step=0.1))
    assert plateau.reference == 100.0


def test_a_policy_below_the_bar_is_not_what_a_roll_back_returns_to() -> None:
    """It collapses before the first raise: the state to come back to is one that holds."""
    actions, plateau = run([100.0] * (WINDOW - 1) + [20.0] * 3, Plateau(step=0.1))
    assert actions == ["hold"] * (WINDOW + 2)
    assert plateau.reference == pytest.approx(84.0)
    actions, plateau = run([90.0], plateau)
    assert actions == ["raise"]
    assert plateau.reference == pytest.approx(84.0)


def test_losses_do_not_add_up_over_levels() -> None:
    """Each raise costs 4.5 %, within a tolerance of 5 %; two of them are beyond it."""
    plateau, level_return = Plateau(step=0.05), 100.0
    returns = {0.0: 100.0}
    for _ in range(300):
        action, plateau = advance(
            plateau, level_return, tolerance=0.05, patience=5, min_step=0.005, random_return=0.0
        )
        if action in ("raise", "retry"):
            returns[plateau.level] = returns[plateau.accepted] * 0.955
        level_return = returns[plateau.level]
    assert plateau.ended
    assert plateau.accepted == 0.05
    assert level_return == pytest.approx(95.5)


def test_one_lucky_evaluation_does_not_freeze_pruning() -> None:
    """Neither in the reference nor at a level: what was seen once isn't sure."""
    _, plateau = run([100.0, 100.0, 130.0, 100.0, 100.0], Plateau(step=0.25))
    assert plateau.reference == 106.0
    actions, plateau = run([140.0] + [100.0] * 60, plateau)
    assert "roll_back" not in actions
    assert plateau.accepted == 1.0
    assert plateau.reference == 106.0


def test_the_reference_rises_with_a_policy_that_goes_on_learning() -> None:
    _, plateau = run([100.0] * 3 + [200.0] * 3, begun(0.25))
    assert plateau.reference == 200.0
    actions, _ = run([170.0], plateau, patience=0)
    assert actions == ["roll_back"]


def test_what_is_sure_is_students_bound_of_the_last_three_or_five() -> None:
    assert sure_return((100.0, 100.0), 0.0, 0) == -math.inf
    assert sure_return((50.0, 100.0, 100.0, 100.0), 0.0, 0) == 100.0
    scattered = (99.0, 101.0, 100.0, 98.0, 102.0)
    for patience in (0, 5):
        quantile = student.isf(FALSE_ACCEPTANCES / (patience + 1), df=4)
        expected = 100.0 - quantile * math.sqrt(2.5 / 5)
        assert sure_return(scattered, 0.0, patience) == pytest.approx(expected)
    quantile = student.isf(FALSE_ACCEPTANCES, df=2)
    rising = (0.0, 0.0, 100.0, 101.0, 102.0)
    assert sure_return(rising, 0.0, 0) == pytest.approx(101.0 - quantile * math.sqrt(1 / 3))
    # That they agree doesn't make them sure where evaluations have scattered before.
    assert sure_return((100.0,) * 3, 1.0, 0) == pytest.approx(100.0 - quantile * math.sqrt(1 / 3))


@given(
    returns=st.lists(st.floats(-1e3, 1e3), max_size=60),
    step=st.floats(0.01, 1.0),
    patience=st.integers(0, 4),
    tolerance=st.floats(0.0, 1.0),
)
@settings(deadline=None, derandomize=True, max_examples=150)
def test_levels_stay_in_bounds_and_the_accepted_one_never_falls(
    returns: list[float], step: float, patience: int, tolerance: float
) -> None:
    plateau = Plateau(step=step)
    for value in returns:
        before = plateau
        action, plateau = advance(
            plateau,
            value,
            tolerance=tolerance,
            patience=patience,
            min_step=step / 5,
            random_return=-50.0,
        )
        assert 0.0 <= before.accepted <= plateau.accepted <= plateau.level <= 1.0
        assert plateau.waited <= patience
        assert before.reference is None or plateau.reference >= before.reference
        if action in ("raise", "retry"):
            assert plateau.level > before.level
        elif action == "roll_back":
            assert plateau.level == before.accepted
            assert plateau.step == before.step / 2
        else:
            assert plateau.level == before.level
