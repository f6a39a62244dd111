"""When and how far to prune: open-loop schedules, the plateau rule's adapter, exploits."""

import pytest

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.schedule.decide import Decision, PruneTarget, ScheduleState, decide, start
from rllib_ext.pruning.schedule.patience import WINDOW
from rllib_ext.pruning.schedule.schedules import Ramp

NAN = float("nan")


def extents(config: PruningConfig, progresses: list[float]) -> list[float | None]:
    standing = start(config)
    return [decide(config, standing, p, None, 0.0)[0].extent.sparsity for p in progresses]


@pytest.mark.parametrize("schedule", ["one_shot", "linear", "cubic"])
def test_open_loop_extents_follow_the_ramp(schedule: str) -> None:
    config = PruningConfig(final_sparsity=0.8, critic_final_sparsity=0.4, schedule=schedule)
    ramp = Ramp(schedule, config.begin, config.end, 1.0)
    for progress in (0.0, 0.2, 0.35, 0.5, 0.8, 1.0):
        decision, standing = decide(config, start(config), progress, 123.0, 0.0)
        assert decision.extent.sparsity == pytest.approx(0.8 * ramp.at(progress))
        assert decision.extent.critic_sparsity == pytest.approx(0.4 * ramp.at(progress))
        assert decision.extent.threshold is None
        assert not decision.accept
        assert not decision.roll_back
        assert standing == start(config)


def test_a_threshold_rises_from_nothing() -> None:
    config = PruningConfig(final_sparsity=None, threshold=0.4, schedule="linear")
    values = [decide(config, start(config), p, None, 0.0)[0].extent for p in (0.2, 0.5, 0.9)]
    assert [v.threshold for v in values] == pytest.approx([0.0, 0.2, 0.4])
    assert [v.sparsity for v in values] == [None, None, None]


def plateau_config(**changes: object) -> PruningConfig:
    values = {
        "final_sparsity": 0.8,
        "critic_final_sparsity": 0.4,
        "schedule": "plateau",
        "begin": 0.2,
        "end": 0.8,
        "step": 0.2,
        "min_step": 0.15,
        "patience": 1,
        "tolerance": 0.1,
    }
    return PruningConfig.from_dict({**values, **changes})


def begun(
    config: PruningConfig, standing: ScheduleState | None = None
) -> tuple[Decision, ScheduleState]:
    """The first raise, after a reference without noise."""
    standing = standing or start(config)
    for _ in range(WINDOW):
        decision, standing = decide(config, standing, 0.3, 100.0, 0.0)
    return decision, standing


def test_plateau_steps_are_sparsity_and_the_critic_follows() -> None:
    config = plateau_config()
    decision, standing = begun(config)
    assert decision.accept
    assert decision.extent.sparsity == pytest.approx(0.2)
    assert decision.extent.critic_sparsity == pytest.approx(0.1)
    for _ in range(3):
        decision, standing = decide(config, standing, 0.32, 95.0, 0.0)
    assert decision.extent.sparsity == pytest.approx(0.4)


@pytest.mark.parametrize("evaluated", [None, NAN, float("inf")])
def test_plateau_does_nothing_without_an_evaluation(evaluated: float | None) -> None:
    config = plateau_config()
    standing = start(config)
    decision, after = decide(config, standing, 0.3, evaluated, 0.0)
    assert after == standing
    assert decision.extent.sparsity == 0.0
    assert decision.event == ""


def test_plateau_ignores_evaluations_before_begin() -> None:
    config = plateau_config()
    decision, standing = decide(config, start(config), 0.1, 1000.0, 0.0)
    assert standing == start(config)
    assert not decision.accept


def test_plateau_raises_no_more_after_end_but_still_judges() -> None:
    config = plateau_config()
    _, standing = begun(config)
    decision, standing = decide(config, standing, 0.81, 0.0, 0.0)
    assert decision.event == "held"
    decision, standing = decide(config, standing, 0.82, 0.0, 0.0)
    assert decision.roll_back
    assert decision.event == "rolled_back"
    assert decision.extent.sparsity == 0.0
    decision, standing = decide(config, standing, 0.83, 500.0, 0.0)
    assert not decision.accept
    assert decision.extent.sparsity == 0.0


def test_a_level_that_holds_after_end_is_accepted_and_no_other_follows() -> None:
    config = plateau_config(step=0.1, min_step=0.01, end=0.4)
    standing, raised = start(config), {}
    for percent in range(20, 60):
        decision, standing = decide(config, standing, percent / 100, 100.0, 0.0)
        if decision.prune:
            raised[percent] = decision.extent.sparsity
        assert not decision.roll_back
    assert list(raised) == [24, 27, 30, 33, 36, 39]
    assert list(raised.values()) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert decision.event == ""
    assert standing.plateau is not None
    assert standing.plateau.settled
    # What was accepted stays, whatever becomes of the return.
    for percent in range(60, 100, 5):
        decision, standing = decide(config, standing, percent / 100, 0.0, 0.0)
        assert not decision.roll_back
        assert decision.extent.sparsity == pytest.approx(0.6)


def test_plateau_with_an_impossible_tolerance_ends_where_it_started() -> None:
    config = plateau_config(patience=0, tolerance=0.0, min_step=0.15)
    standing = start(config)
    sparsities = []
    for i, value in enumerate([100.0] * WINDOW + [99.0, 98.0, 97.0, 96.0]):
        decision, standing = decide(config, standing, 0.3 + 0.01 * i, value, 0.0)
        sparsities.append(decision.extent.sparsity)
    assert sparsities == pytest.approx([0.0] * (WINDOW - 1) + [0.2, 0.0, 0.0, 0.0, 0.0])
    assert standing.plateau is not None
    assert standing.plateau.ended


def test_plateau_step_of_a_threshold_is_a_share_of_it() -> None:
    config = plateau_config(final_sparsity=None, threshold=0.5, step=0.25, min_step=0.1)
    decision, _ = begun(config)
    assert decision.extent.threshold == pytest.approx(0.125)


def test_plateau_to_nothing_prunes_nothing() -> None:
    config = plateau_config(final_sparsity=0.0)
    decision, _ = begun(config)
    assert decision.extent.sparsity == 0.0


def test_plateau_prunes_when_it_raises_and_at_no_other_time() -> None:
    config = plateau_config()
    standing = start(config)
    prunes = []
    seen = ((0.1, 9.0), *[(0.3, 9.0)] * WINDOW, (0.31, None), (0.32, 0.0), (0.33, 0.0))
    for progress, value in seen:
        decision, standing = decide(config, standing, progress, value, 0.0)
        prunes.append(decision.prune)
    assert prunes == [False] * WINDOW + [True, False, False, False]


def test_iterative_rounds_are_those_of_the_policy_path_and_the_critic_follows() -> None:
    config = PruningConfig(
        final_sparsity=0.36,
        critic_final_sparsity=0.18,
        threshold=0.72,
        schedule="iterative",
        begin=0.0,
        end=0.5,
    )
    extents = [decide(config, start(config), p, None, 0.0)[0].extent for p in (0.2, 0.26, 0.5)]
    assert [e.sparsity for e in extents] == pytest.approx([0.0, 0.2, 0.36])
    assert [e.critic_sparsity for e in extents] == pytest.approx([0.0, 0.1, 0.18])
    assert [e.threshold for e in extents] == pytest.approx([0.0, 0.4, 0.72])


def test_regrowth_comes_at_its_interval_between_begin_and_end() -> None:
    config = PruningConfig(
        schedule="constant", regrow="set", begin=0.2, end=0.6, regrow_interval=0.1, regrow_share=0.4
    )
    standing, shares = start(config), {}
    for step in range(0, 100, 5):
        decision, standing = decide(config, standing, step / 100, None, 0.0)
        assert decision.extent.sparsity == 0.9
        if decision.regrow:
            shares[step] = decision.regrow
    assert list(shares) == [20, 30, 40, 50]
    assert shares[20] == 0.4
    assert shares[40] == pytest.approx(0.2)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_an_exploit_starts_the_ramp_from_the_sparsity_now() -> None:
    config = PruningConfig(final_sparsity=0.9, schedule="linear", begin=0.2, end=0.8)
    now = ScheduleState(anchor=0.5, sparsity=0.3, critic_sparsity=0.0)
    standing = start(config, now)
    values = [decide(config, standing, p, None, 0.0)[0].extent for p in (0.5, 0.65, 0.8)]
    assert [v.sparsity for v in values] == pytest.approx([0.3, 0.6, 0.9])
    assert [v.critic_sparsity for v in values] == [0.0, 0.0, 0.0]


def test_an_exploit_resets_the_plateaus_counters() -> None:
    config = plateau_config()
    _, standing = begun(config)
    _, standing = decide(config, standing, 0.31, 0.0, 0.0)
    assert standing.plateau is not None
    assert standing.plateau.waited == 1
    fresh = start(config, ScheduleState(anchor=0.5, sparsity=0.4))
    assert fresh.plateau is not None
    assert (fresh.plateau.waited, fresh.plateau.reference, fresh.plateau.seen) == (0, None, ())
    decision, _ = begun(config, fresh)
    assert decision.extent.sparsity == pytest.approx(0.6)


def raises(config: PruningConfig, standing: ScheduleState) -> list[PruneTarget]:
    """What a return that always holds leads to, raise by raise."""
    extents = []
    for _ in range(30):
        decision, standing = decide(config, standing, 0.5, 100.0, 0.0)
        extents += [decision.extent] if decision.prune else []
    return extents


def test_a_step_stays_one_of_sparsity_after_an_exploit() -> None:
    config = plateau_config(final_sparsity=0.9, step=0.05, min_step=0.005)
    standing = start(config, ScheduleState(anchor=0.5, sparsity=0.78, critic_sparsity=0.1))
    extents = raises(config, standing)
    assert [e.sparsity for e in extents] == pytest.approx([0.83, 0.88, 0.9])
    # The critic covers the same share of its way.
    critic = [0.1 + share * 0.3 for share in (5 / 12, 10 / 12, 1.0)]
    assert [e.critic_sparsity for e in extents] == pytest.approx(critic)


def test_the_last_bit_after_an_exploit_is_one_step_that_can_be_halved() -> None:
    config = plateau_config(final_sparsity=0.9, step=0.05, min_step=0.005, patience=0)
    standing = start(config, ScheduleState(anchor=0.5, sparsity=0.88))
    sparsities = []
    # The return falls at every raise: the steps of 0.02, 0.01 and 0.005 are tried.
    for value in [100.0] * (WINDOW - 1) + [100.0, 0.0] * 4:
        decision, standing = decide(config, standing, 0.5, value, 0.0)
        sparsities.append(decision.extent.sparsity)
    tried = [0.9, 0.88, 0.89, 0.88, 0.885, 0.88, 0.88, 0.88]
    assert sparsities == pytest.approx([0.88] * (WINDOW - 1) + tried)
    assert standing.plateau is not None
    assert standing.plateau.ended


def test_after_an_exploit_a_step_stays_a_share_of_the_whole_threshold() -> None:
    config = plateau_config(final_sparsity=None, threshold=0.5, step=0.25, min_step=0.1)
    extents = raises(config, start(config, ScheduleState(anchor=0.5, threshold=0.2)))
    assert [e.threshold for e in extents] == pytest.approx([0.325, 0.45, 0.5])


@pytest.mark.parametrize("short", [0.0, 1e-4])
def test_where_the_policy_path_is_there_already_steps_are_the_critics(short: float) -> None:
    """Counts are whole: a target that was reached is missed by a part of a weight."""
    config = plateau_config(final_sparsity=0.5)
    extents = raises(config, start(config, ScheduleState(anchor=0.5, sparsity=0.5 - short)))
    assert [e.critic_sparsity for e in extents] == pytest.approx([0.2, 0.4])
    assert [e.sparsity for e in extents] == pytest.approx([0.5, 0.5], abs=short)


def test_what_is_less_than_the_smallest_step_goes_at_once() -> None:
    config = plateau_config(final_sparsity=0.5, critic_final_sparsity=0.0)
    extents = raises(config, start(config, ScheduleState(anchor=0.5, sparsity=0.499)))
    assert [e.sparsity for e in extents] == [0.5]


@pytest.mark.parametrize("schedule", ["linear", "plateau"])
def test_the_standing_survives_plain_values(schedule: str) -> None:
    config = plateau_config(schedule=schedule)
    _, standing = decide(config, start(config), 0.3, 100.0, 0.0)
    values = standing.to_dict()
    if values["plateau"] is not None:
        assert values["plateau"]["seen"] == (100.0,)
        values["plateau"]["seen"] = [100.0]
    assert ScheduleState.from_dict(values) == standing
