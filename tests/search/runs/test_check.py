import re

import pytest
from pretended_search import coordinated

from rllib_ext.pruning.errors import ConfigError
from search.config.sizing import episodes_of
from search.runs.check import describe_plan


def test_a_plan_predicts_trials_steps_and_what_it_takes():
    plan = describe_plan(
        coordinated(members=6, segments=5, ppo={"env_runners": {"num_env_runners": 2}}),
        [{"CPU": 8.0}, {"CPU": 4.0}],
    )
    assert "30 segments and the dense baseline" in plan
    assert "80,000 env steps, and 13,333 of the dense baseline" in plan
    assert "a member takes 3 CPU" in plan
    assert "2 machines with 12 CPU and no GPU; at most 12 CPU of them at once" in plan
    assert re.search(r"4 at a time, roughly \d+( to \d+)? min", plan)


def test_a_plan_says_how_a_population_grows():
    plan = describe_plan(coordinated(members=8, segments=8, search={"founders": 0.25}))
    assert re.search(
        r"members     2 at first, 7 at last, 1\d,\d+ env steps a lineage, in 8 segments", plan
    )


def test_a_plan_says_how_far_the_lineages_of_its_strategy_go():
    plan = describe_plan(coordinated(strategy="train_then_prune", members=4, segments=4))
    # A quarter of 80,000 env steps, or as configured, once; then an equal share of the rest.
    assert re.search(r"members     4, 35,000 env steps a lineage, in 7 segments of 5,000", plan)


def test_a_plan_says_what_baselines_cost_and_which_are_left_out():
    told = describe_plan(coordinated(baselines={"random_masks": 0, "small_dense": 2}))
    assert "2 × small dense network, 1 × trained once, then pruned, 1 × linear policy, 1 × " in told
    assert "decision tree; 20,000 env steps each, a tree 400 episodes" in told
    assert "left out" not in told
    pictures = coordinated(
        env="linear_world:Seen",
        ppo={"rl_module": {"model_config": {"conv_filters": [[4, 4, 4]]}}},
    )
    told = describe_plan(pictures)
    assert "1 × random masks, 1 × trained once, then pruned; " in told
    for kind in ("small_dense: the policy is no chain", "linear: the policy sees a Box of shape"):
        assert f"left out    {kind}" in told


def test_more_machines_take_less_time():
    config = coordinated(members=8, env_steps=80_000_000)

    def most(cpus):
        return int(re.search(r"(\d+) min", describe_plan(config, [{"CPU": cpus}])).group(1))

    assert most(1.0) > 2 * most(8.0)


def test_evaluations_are_counted_by_iteration_and_interval():
    for interval, a_segment in ((1, 5), (2, 3), (10, 1)):
        config = coordinated(
            members=4, segments=4, env_steps=80_000,
            ppo={"training": {"train_batch_size_per_learner": 1_000}},
            evaluation={"interval": interval, "episodes": 7},
        )  # fmt: skip
        # 4 members, 4 segments of 5 iterations each.
        assert episodes_of(config, 1_000).during == 4 * 4 * a_segment * 7


def test_a_plan_predicts_training_and_evaluation_apart_and_says_what_it_made_smaller():
    def plan(**evaluation):
        told = describe_plan(
            coordinated(env_steps=200_000_000, evaluation=evaluation), [{"CPU": 2.0}]
        )
        found = re.search(
            r"steps: training ([\d,]+).* min, evaluation ([\d,]+)( to ([\d,]+))? min", told
        )
        return told, *(float(found.group(i).replace(",", "")) for i in (1, 4))

    told, training, evaluation = plan()
    assert training > 60
    assert evaluation <= training / 4
    assert "sized" not in told
    told, training, evaluation = plan(interval=1, episodes=10_000)
    assert evaluation > training
    assert "evaluation.candidates = 4 instead of 16" in told
    told, _, evaluation = plan(interval=1, episodes=1_000, shifts=[{"noise": 0.1}])
    assert evaluation > 0


def test_a_plan_that_this_machine_cannot_hold_is_refused():
    with pytest.raises(ConfigError, match="takes 4096 CPU, but the machine has"):
        describe_plan(coordinated(resources={"cpus_per_member": 4_096}))


def test_a_plan_says_that_more_is_asked_for_at_once_than_can_be():
    machines = [{"CPU": 2.0}]
    plan = describe_plan(coordinated(members=8, resources={"slots": 100}), machines)
    assert "resources.slots asks for 100, but no more than 2 members can train at once" in plan
    assert "2 at a time" in plan
    for slots in ({}, {"slots": 1}, {"slots": 2}):
        assert "resources.slots" not in describe_plan(coordinated(resources=slots), machines)


def test_an_environment_that_breaks_is_refused(monkeypatch):
    import gymnasium.envs.classic_control.cartpole as cartpole

    def breaks(self, action):
        raise ZeroDivisionError("in the environment")

    monkeypatch.setattr(cartpole.CartPoleEnv, "step", breaks)
    with pytest.raises(ConfigError, match="ZeroDivisionError: in the environment"):
        describe_plan(coordinated())
