"""What a user feels of a roll-back, in both engines: the policy that comes back is as good as it was.

A cart pole that is balanced, pruned to ruin by one step of `plateau`, and brought back.
"""

import pytest
import torch
from packs import started

from rllib_ext import PruningConfig, with_preprocessing, with_pruning
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.policy.store import policy_of
from rllib_ext.rl.callback import hand_over_evaluation

PRUNING = PruningConfig(
    final_sparsity=0.99,
    schedule="plateau",
    begin=0.0,
    end=1.0,
    horizon=1_000_000,
    step=0.99,
    patience=0,
    random_return=20.0,
    # The largest weights alone would balance the pole, few as they are.
    criterion="random",
)
# Iterations that teach enough to have something to lose.
LEARNING = 25
SEEDS = range(1000, 1020)


@pytest.fixture
def ppo(small_ppo):
    config = small_ppo(
        lr=1e-3, train_batch_size_per_learner=1024, num_epochs=6, lambda_=0.95, vf_loss_coeff=0.5
    )
    return config.rl_module(model_config={"fcnet_hiddens": [32, 32], "vf_share_layers": False})


def ups_and_downs(train, evaluate):
    """Returns when the step is taken, after it, after the roll-back, and an iteration later.

    Args:
        train: Trains for an iteration, given what the rule hears of the policy; returns the event.
        evaluate: Mean return of the policy as it is, over fixed seeds.
    """
    for _ in range(10):
        accepted = evaluate()
        if train(100.0) == "pruned":
            break
    ruined = evaluate()
    assert train(0.0) == "rolled_back"
    returned = evaluate()
    train(None)
    return accepted, ruined, returned, evaluate()


def test_a_packed_policy_that_comes_back_is_as_good_and_goes_on_learning(ppo):
    torch.set_num_threads(1)
    pack = started(ppo, members=3, iterations=LEARNING, pruning=PRUNING, first_seed=100)

    def train(heard):
        for i in range(3):
            if heard is not None:
                pack.observe(i, heard)
        (event,) = {result["pruning"]["event"] for result in pack.train().values()}
        return event

    def evaluate():
        episodes = pack.evaluate({i: list(SEEDS) for i in range(3)})
        return [episodes[i].mean for i in range(3)]

    accepted, ruined, returned, later = ups_and_downs(train, evaluate)
    pack.close()
    assert min(accepted) > 100.0
    assert sum(ruined) < 0.6 * sum(accepted)
    assert returned == accepted
    assert sum(later) > 0.7 * sum(accepted)


def test_a_packed_policy_comes_back_with_its_own_statistics(ppo):
    pack = started(
        with_preprocessing(ppo, normalize=True), members=2, iterations=3, pruning=PRUNING
    )

    def train(heard):
        for i in range(2):
            pack.observe(i, heard)
        return {result["pruning"]["event"] for result in pack.train().values()}

    def statistics():
        return [(str(pack._filters.state(i)), str(pack._rewards.state(i))) for i in range(2)]

    for _ in range(10):
        before, scales = statistics(), [pack._rewards.state(i) for i in range(2)]
        if train(100.0) == {"pruned"}:
            break
    assert statistics() != before
    assert train(0.0) == {"rolled_back"}
    assert [seen for seen, _ in statistics()] == [seen for seen, _ in before]
    # Accepted before the batch was scaled that it was pruned on.
    assert [pack._rewards.state(i) for i in range(2)] == scales
    pack.close()


@pytest.mark.ray
@pytest.mark.parametrize("runners", [0, 2])
def test_a_policy_in_rllib_comes_back_with_its_own_statistics(ppo, runners):
    ppo = with_preprocessing(ppo.env_runners(num_env_runners=runners), normalize=True)
    algorithm = with_pruning(ppo, PRUNING, evaluated_outside=True).build_algo()
    learner = algorithm.learner_group._learner

    def train(heard):
        hand_over_evaluation(algorithm, heard)
        return algorithm.train()["pruning"]["event"]

    def seen():
        states = algorithm.env_runner_group.foreach_env_runner(
            lambda runner: runner._env_to_module.get_state()
        )
        return [str(state["MeanStdFilter"]) for state in states]

    algorithm.train()
    for _ in range(10):
        before, scale = seen(), learner._rewards_state()
        if train(100.0) == "pruned":
            break
    assert scale["count"] > 1000
    assert seen()[0] != before[0]
    assert train(0.0) == "rolled_back"
    # All EnvRunners go on from what the policy was evaluated with.
    assert set(seen()) == {before[0]}
    assert learner._rewards_state() == scale
    algorithm.stop()


@pytest.mark.ray
def test_a_policy_in_rllib_that_comes_back_is_as_good_and_goes_on_learning(ppo):
    algorithm = with_pruning(ppo, PRUNING, evaluated_outside=True).build_algo()
    evaluator = Evaluator(env_maker(ppo))
    for _ in range(LEARNING):
        algorithm.train()

    def train(heard):
        if heard is not None:
            hand_over_evaluation(algorithm, heard)
        return algorithm.train()["pruning"]["event"]

    def evaluate():
        return evaluator.run(policy_of(algorithm), SEEDS).mean

    accepted, ruined, returned, later = ups_and_downs(train, evaluate)
    algorithm.stop()
    evaluator.close()
    assert accepted > 100.0
    assert ruined < 0.6 * accepted
    assert returned == accepted
    assert later > 0.7 * accepted
