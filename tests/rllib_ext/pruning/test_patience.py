"""The plateau rule, evaluation by evaluation."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_ext.pruning.patience import REFERENCE_WINDOW, Plateau, advance

RULE = {"tolerance": 0.1, "patience": 2, "min_step": 0.05, "random_return": 0.0}


def run(returns: list[float], plateau: Plateau, **changes: float) -> tuple[list[str], Plateau]:
    actions = []
    for value in returns:
        action, plateau = advance(plateau, value, **{**RULE, **changes})
        actions.append(action)
    return actions, plateau


def test_the_level_rises_while_the_return_holds() -> None:
    actions, plateau = run([100.0] * 4, Plateau(step=0.25))
    assert actions == ["raise"] * 4
    assert plateau.level == 1.0
    assert plateau.accepted == 0.75
    actions, plateau = run([100.0], plateau)
    assert actions == ["hold"]
    assert plateau.accepted == plateau.level == 1.0


def test_it_waits_for_patience_then_rolls_back_and_halves_the_step() -> None:
    _, plateau = run([100.0], Plateau(step=0.2))
    actions, plateau = run([50.0, 60.0, 70.0], plateau)
    assert actions == ["hold", "hold", "roll_back"]
    assert plateau.level == plateau.accepted == 0.0
    assert plateau.step == 0.1
    assert plateau.waited == 0
    assert not plateau.ended


def test_a_return_that_recovers_in_time_is_accepted() -> None:
    _, plateau = run([100.0], Plateau(step=0.2))
    actions, plateau = run([50.0, 60.0, 95.0], plateau)
    assert actions == ["hold", "hold", "raise"]
    assert plateau.accepted == 0.2
    assert plateau.reference == (95.0,)
    assert plateau.waited == 0


def test_without_leave_to_rise_a_level_on_trial_is_accepted_or_rolled_back() -> None:
    _, trial = run([100.0], Plateau(step=0.2))
    actions, plateau = run([95.0, 90.0], trial, may_raise=False)
    assert actions == ["hold", "hold"]
    assert plateau.level == plateau.accepted == 0.2
    assert plateau.reference == (95.0, 90.0)
    actions, plateau = run([50.0] * 4, trial, may_raise=False)
    assert actions == ["hold", "hold", "roll_back", "hold"]
    assert plateau.level == plateau.accepted == 0.0


def test_no_patience_rolls_back_at_once() -> None:
    _, plateau = run([100.0], Plateau(step=0.2))
    actions, _ = run([50.0], plateau, patience=0)
    assert actions == ["roll_back"]


def test_pruning_ends_below_the_smallest_step() -> None:
    plateau = Plateau(step=0.08)
    actions, plateau = run([100.0, 0.0], plateau, patience=0)
    assert actions == ["raise", "roll_back"]
    assert plateau.ended
    actions, after = run([100.0] * 3, plateau)
    assert actions == ["hold"] * 3
    assert after.level == after.accepted == 0.0


def test_the_bar_is_a_share_of_what_was_learned() -> None:
    plateau = Plateau(step=0.1, reference=(90.0, 110.0))
    assert plateau.bar(0.1, random_return=20.0) == 100.0 - 0.1 * 80.0
    negative = Plateau(step=0.1, reference=(-100.0,))
    assert negative.bar(0.1, random_return=-500.0) == -140.0
    below_random = Plateau(step=0.1, reference=(10.0,))
    assert below_random.bar(0.1, random_return=20.0) == 10.0
    assert math.isnan(Plateau(step=0.1).bar(0.1, 0.0))


def test_the_reference_keeps_the_last_evaluations_only() -> None:
    ended = Plateau(step=0.1, ended=True)
    _, plateau = run([float(i) for i in range(9)], ended)
    assert plateau.reference == tuple(float(i) for i in range(9 - REFERENCE_WINDOW, 9))


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
        if action == "raise":
            assert plateau.level > before.level
        elif action == "roll_back":
            assert plateau.level == before.accepted
            assert plateau.step == before.step / 2
        else:
            assert plateau.level == before.level
