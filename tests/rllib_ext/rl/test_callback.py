"""What the callback hands to the Learner and reports, and the plateau rule in real PPO runs."""

import copy
from typing import ClassVar

import gymnasium as gym
import pytest
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.columns import Columns

from rllib_ext import PruningConfig, with_pruning
from rllib_ext.evaluation.reference import random_policy_episodes
from rllib_ext.pruning.schedule.patience import WINDOW
from rllib_ext.rl.callback import RANDOM_EPISODES, hand_over_evaluation, masks_of
from rllib_ext.rl.learner import PruningPPOTorchLearner

pytestmark = pytest.mark.ray

WEIGHTS = 4 * 16 + 16 * 16 + 16 * 2
HORIZON = 100 * 256


def full_state(learner):
    """All that a roll-back must bring back."""
    module = learner.module["default_policy"]
    (optimizer,) = (o for _, o in learner.get_optimizers_for_module("default_policy"))
    parameters = dict(module.named_parameters())
    return {
        "parameters": {n: p.detach().clone() for n, p in parameters.items()},
        "masks": {n: m.clone() for n, m in learner.pruner.masks.items()},
        "moments": {n: copy.deepcopy(dict(optimizer.state[p])) for n, p in parameters.items()},
        "statistics": {
            f"{name} {weight}": value
            for name, by_weight in learner.pruner.gatherer.state_dict().items()
            for weight, (_, value) in by_weight.items()
        },
        "kl_coeff": {n: float(v) for n, v in learner.curr_kl_coeffs_per_module.items()},
    }


def assert_same_bits(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same_bits(one[key], other[key])
    else:
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


class WatchedLearner(PruningPPOTorchLearner):
    """Keeps the state that each update finds, and the last minibatch that it learns from."""

    def before_gradient_based_update(self, *, timesteps):
        self.at_update_end = full_state(self)
        super().before_gradient_based_update(timesteps=timesteps)

    def compute_losses(self, *, fwd_out, batch):
        self.last_batch = batch["default_policy"]
        return super().compute_losses(fwd_out=fwd_out, batch=batch)


def learner_of(algorithm):
    return algorithm.learner_group._learner


def plateau(**changes):
    values = {
        "final_sparsity": 0.8,
        "schedule": "plateau",
        "begin": 0.0,
        "end": 1.0,
        "step": 0.2,
        "min_step": 0.05,
        "patience": 1,
        "tolerance": 0.1,
        "random_return": 20.0,
        "horizon": HORIZON,
    }
    return PruningConfig(**{**values, **changes})


def build(small_ppo, pruning, learner_class=WatchedLearner):
    ppo = small_ppo().learners(learner_class=learner_class)
    return with_pruning(ppo, pruning, evaluated_outside=True)


def restored_policy(config, state):
    """The policy whose parameters a state holds."""
    module = config.get_rl_module_spec(env=gym.make("CartPole-v1")).build()
    assert not module.load_state_dict(state["parameters"], strict=False).unexpected_keys
    return module


@torch.no_grad()
def ratio_to(module, batch):
    """Probability that a policy gives to a batch's actions ÷ that with which they were drawn."""
    inputs = module.forward_train(batch)[Columns.ACTION_DIST_INPUTS]
    logs = torch.log_softmax(inputs, -1).gather(-1, batch[Columns.ACTIONS].view(-1, 1)).squeeze(-1)
    return torch.exp(logs - batch[Columns.ACTION_LOGP])[batch[Columns.LOSS_MASK]]


@pytest.mark.parametrize("restored", [False, True], ids=["same process", "restored on the way"])
def test_a_roll_back_brings_back_weights_masks_and_moments_bit_by_bit(
    small_ppo, tmp_path, restored
):
    config = build(small_ppo, plateau(criterion="movement"))
    algorithm = config.build_algo()
    algorithm.train()
    zeros = []
    # 95 is within 10 % of 100 − 20: it holds, so 20 % is accepted.
    for evaluated in [100.0] * WINDOW + [95.0] * 3:
        hand_over_evaluation(algorithm, evaluated)
        zeros.append(algorithm.train()["pruning"]["zeros"])
    first, second = round(0.2 * WEIGHTS), round(0.4 * WEIGHTS)
    assert zeros == [0] * (WINDOW - 1) + [first] * 3 + [second]
    accepted = learner_of(algorithm).at_update_end
    hand_over_evaluation(algorithm, 40.0)
    report = algorithm.train()["pruning"]
    assert (report["event"], report["patience_left"]) == ("held", 0)
    hand_over_evaluation(algorithm, 40.0)
    if restored:
        algorithm.save_to_path(tmp_path / "state")
        algorithm.stop()
        algorithm = config.copy(copy_frozen=False).build_algo()
        algorithm.restore_from_path(tmp_path / "state")
    report = algorithm.train()["pruning"]
    assert report["event"] == "rolled_back"
    counted = {event: count for event, count in report["events"].items() if count}
    assert counted == {"pruned": 2, "held": 3, "rolled_back": 1}
    assert report["zeros"] == round(0.2 * WEIGHTS)
    assert report["plateau_step"] == pytest.approx(0.1 / 0.8)
    learner = learner_of(algorithm)
    assert_same_bits(full_state(learner), accepted)
    restored_runner = dict(algorithm.env_runner.module.named_parameters())
    assert_same_bits(
        {name: p.detach() for name, p in restored_runner.items()},
        {name: accepted["parameters"][name] for name in restored_runner},
    )
    # Training goes on from there, with a batch of the policy that came back.
    assert algorithm.train()["pruning"]["zeros"] == round(0.2 * WEIGHTS)
    probability_ratio = ratio_to(restored_policy(config, accepted), learner.last_batch)
    torch.testing.assert_close(probability_ratio, torch.ones_like(probability_ratio))
    hand_over_evaluation(algorithm, 95.0)
    assert algorithm.train()["pruning"]["zeros"] == round(0.3 * WEIGHTS)
    algorithm.stop()


@pytest.mark.parametrize("starting", [0.0, 0.3])
def test_a_tolerance_that_nothing_meets_ends_at_the_starting_sparsity(
    small_ppo, tmp_path, starting
):
    algorithm = None
    if starting:
        dense = PruningConfig(
            final_sparsity=starting, schedule="one_shot", begin=0.0, horizon=HORIZON
        )
        donor = build(small_ppo, dense).build_algo()
        donor.train()
        donor.save_to_path(tmp_path / "state")
        donor.stop()
    algorithm = build(small_ppo, plateau(tolerance=0.0, patience=0)).build_algo()
    if starting:
        algorithm.restore_from_path(tmp_path / "state")
    events = []
    for _ in range(12 + WINDOW):
        report = algorithm.train()["pruning"]
        events.append(report["event"])
        at_start = report["zeros"] == round(starting * WEIGHTS)
        hand_over_evaluation(algorithm, 100.0 if at_start else 50.0)
    algorithm.stop()
    # Steps of 0.2, 0.1 and 0.05 are tried; 0.025 lies below min_step.
    assert [e for e in events if e] == ["pruned", "rolled_back"] * 3
    assert events[-4:] == [""] * 4
    assert report["zeros"] == round(starting * WEIGHTS)


class EvaluatedEpisodes(RLlibCallback):
    """Returns of the evaluation episodes since the last look."""

    returns: ClassVar[list[float]] = []

    def on_episode_end(self, *, episode, env_runner, **kwargs):
        if env_runner.config.in_evaluation:
            self.returns.append(episode.get_return())


def test_an_evaluation_counts_once_with_the_episodes_of_its_own_iteration(small_ppo):
    ppo = small_ppo().evaluation(evaluation_interval=2, evaluation_duration=3)
    ppo.callbacks(EvaluatedEpisodes)
    algorithm = with_pruning(ppo, plateau(random_return=9.0)).build_algo()
    pruner = learner_of(algorithm).pruner
    for iteration in range(1, 7):
        EvaluatedEpisodes.returns.clear()
        algorithm.train()
        returns = EvaluatedEpisodes.returns
        if iteration % 2:
            assert returns == []
            assert pruner._evaluated_return is None
        else:
            assert len(returns) == 3
            assert pruner._evaluated_return == pytest.approx(sum(returns) / 3)
    algorithm.stop()


class EvaluatedWeights(RLlibCallback):
    """Counts the zeros of the policy that is evaluated, while it is evaluated."""

    seen = None

    def on_evaluate_start(self, *, algorithm, **kwargs):
        group = algorithm.eval_env_runner_group or algorithm.env_runner_group
        parameters = dict(group.local_env_runner.module.named_parameters())
        actor = [
            n for n in parameters if n.endswith("weight") and "critic" not in n and "vf" not in n
        ]
        EvaluatedWeights.seen = sum(int((parameters[n] == 0.0).sum()) for n in actor)


def test_the_evaluated_policy_the_result_and_the_runner_show_the_same_masks(small_ppo):
    ppo = small_ppo().evaluation(evaluation_interval=1, evaluation_duration=1)
    ppo.callbacks(EvaluatedWeights)
    pruning = PruningConfig(final_sparsity=0.9, begin=0.0, end=1.0, horizon=3 * 256)
    algorithm = with_pruning(ppo, pruning).build_algo()
    counts = []
    for _ in range(3):
        report = algorithm.train()["pruning"]
        counts.append(report["zeros"])
        assert EvaluatedWeights.seen == report["zeros"]
        masks = masks_of(algorithm)
        runner = dict(algorithm.env_runner.module.named_parameters())
        masked = {n: m for n, m in masks.items() if n in runner}
        assert sum(int((~m).sum()) for m in masked.values()) == report["zeros"]
        for name, mask in masked.items():
            assert bool((runner[name][~mask] == 0.0).all())
    algorithm.stop()
    assert counts == sorted(set(counts))
    assert counts[-1] == round(0.9 * WEIGHTS)


def test_the_random_return_is_measured_where_only_plateau_needs_it(small_ppo):
    config = build(small_ppo, plateau(random_return=None))
    algorithm = config.build_algo()
    measured = learner_of(algorithm).pruner.random_return
    algorithm.stop()
    assert measured == random_policy_episodes(config, range(RANDOM_EPISODES)).mean
    assert 15.0 < measured < 35.0


def test_a_clone_that_changes_to_plateau_keeps_its_own_random_return(small_ppo, tmp_path):
    donor = build(small_ppo, PruningConfig(horizon=HORIZON)).build_algo()
    donor.train()
    donor.save_to_path(tmp_path / "state")
    donor.stop()
    for given in (None, -7.0):
        clone = build(small_ppo, plateau(random_return=given)).build_algo()
        before = learner_of(clone).pruner.random_return
        clone.restore_from_path(tmp_path / "state")
        assert learner_of(clone).pruner.random_return == before
        clone.stop()
        assert before == (given or pytest.approx(22.0, abs=6.0))
