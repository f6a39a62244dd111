"""Short PPO runs: what is gathered in training, rewinding, SET and RigL, at work inside RLlib."""

import copy
import math
import time

import pytest
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_ext import PruningConfig, with_pruning

pytestmark = pytest.mark.ray
BATCH = 128
HORIZON = 10 * BATCH


def ppo(learners: int = 0, **model: object) -> PPOConfig:
    model = {"fcnet_hiddens": [8, 8], "vf_share_layers": False, **model}
    return (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=0)
        .learners(num_learners=learners)
        .training(train_batch_size=BATCH, minibatch_size=64, num_epochs=2)
        .rl_module(model_config=DefaultModelConfig(**model))
        .debugging(seed=0)
    )


def build(pruning: PruningConfig, **changes: object) -> Algorithm:
    return with_pruning(ppo(**changes), pruning).build_algo()


def config(**changes: object) -> PruningConfig:
    values = {"final_sparsity": 0.75, "schedule": "linear", "begin": 0.2, "end": 0.8}
    return PruningConfig.from_dict({**values, "horizon": HORIZON, **changes})


def pruner_of(algorithm: Algorithm):
    return algorithm.learner_group._learner.pruner


def masked(pruner, names) -> int:
    return sum(int((~pruner.masks[name]).sum()) for name in names)


def exact(algorithm: Algorithm) -> bool:
    """Whether masked weights are zero on the Learner, and the EnvRunner has the same weights."""
    pruner = pruner_of(algorithm)
    runner = dict(algorithm.env_runner.module.named_parameters())
    for name, mask in pruner.masks.items():
        weight = pruner.all_weights[name].detach()
        if weight[~mask].any():
            return False
        if name in pruner.weights.policy and not torch.equal(runner[name], weight):
            return False
    return True


@pytest.mark.parametrize(
    ("criterion", "model"),
    [
        ("gradient", {}),
        ("movement", {}),
        ("activation", {}),
        ("activation", {"use_lstm": True, "lstm_cell_size": 6, "max_seq_len": 8}),
        ("gradient", {"vf_share_layers": True}),
    ],
)
def test_criteria_that_are_gathered_prune_exactly_while_ppo_trains(criterion: str, model) -> None:
    algorithm = build(config(criterion=criterion), **model)
    try:
        for _ in range(9):
            report = algorithm.train()["pruning"]
            assert report["zeros"] == round(report["target_sparsity"] * report["total_params"])
            assert exact(algorithm)
        assert report["sparsity"] == pytest.approx(0.75, abs=0.01)
        pruner = pruner_of(algorithm)
        kind = pruner.gatherer.kinds[0]
        values = pruner.gatherer.values(kind)
        assert set(values) == set(pruner.all_weights)
        assert all(bool(torch.isfinite(value).all()) for value in values.values())
        assert any(bool(value.any()) for value in values.values())
    finally:
        algorithm.stop()


def test_magnitude_gathers_nothing_and_hooks_nothing() -> None:
    algorithm = build(config())
    try:
        algorithm.train()
        pruner = pruner_of(algorithm)
        assert pruner.gatherer.kinds == ()
        assert not any(layer._forward_hooks for layer in pruner.module.modules())
    finally:
        algorithm.stop()


@pytest.mark.parametrize("criterion", ["movement", "activation"])
def test_a_restored_algorithm_goes_on_with_its_statistics(criterion: str, tmp_path) -> None:
    algorithm, other = build(config(criterion=criterion)), build(config(criterion=criterion))
    try:
        for _ in range(4):
            algorithm.train()
        algorithm.save_to_path(tmp_path / "state")
        other.restore_from_path(tmp_path / "state")
        first, second = pruner_of(algorithm), pruner_of(other)
        kind = first.gatherer.kinds[0]
        for name, value in first.gatherer.values(kind).items():
            assert torch.equal(value, second.gatherer.values(kind)[name])
        assert exact(algorithm)
        report = other.train()["pruning"]
        assert report["zeros"] == round(report["target_sparsity"] * report["total_params"])
    finally:
        algorithm.stop()
        other.stop()


def test_iterative_rounds_rewind_to_the_initial_weights() -> None:
    pruning = config(
        schedule="iterative", round_share=0.5, rewind_to=0.0, critic_final_sparsity=0.5
    )
    algorithm = build(pruning)
    try:
        pruner = pruner_of(algorithm)
        initial = {n: p.detach().clone() for n, p in pruner.module.named_parameters()}
        events, sparsities = [], []
        for _ in range(9):
            result = algorithm.train()
            events.append(result["pruning"]["event"])
            sparsities.append(result["pruning"]["sparsity"])
            assert exact(algorithm)
            if events[-1] == "rewound":
                for name, parameter in pruner.module.named_parameters():
                    mask = pruner.masks.get(name, torch.ones_like(parameter, dtype=torch.bool))
                    assert torch.equal(
                        parameter.detach(), torch.where(mask, initial[name], torch.tensor(0.0))
                    )
        # Rounds at half and at the end of 0.2 … 0.8.
        assert [i for i, event in enumerate(events) if event == "rewound"] == [4, 7]
        assert sparsities[3] == 0.0
        assert sparsities[4] == pytest.approx(0.5, abs=0.01)
        assert sparsities[8] == pytest.approx(0.75, abs=0.01)
    finally:
        algorithm.stop()


@pytest.mark.parametrize("rule", ["set", "rigl"])
def test_dynamic_sparse_training_keeps_counts_while_masks_move(rule: str) -> None:
    pruning = config(
        schedule="constant",
        regrow=rule,
        scope="erk",
        begin=0.0,
        critic_final_sparsity=0.5,
    )
    algorithm = build(pruning)
    try:
        pruner = pruner_of(algorithm)
        policy, critic = list(pruner.weights.policy), list(pruner.weights.critic)
        total = sum(pruner.all_weights[name].numel() for name in policy)
        critic_total = sum(pruner.all_weights[name].numel() for name in critic)
        report = algorithm.train()["pruning"]
        first = copy.deepcopy(pruner.masks)
        for _ in range(6):
            assert masked(pruner, policy) == round(0.75 * total)
            assert masked(pruner, critic) == round(0.5 * critic_total)
            assert exact(algorithm)
            report = algorithm.train()["pruning"]
        # With "rigl" a dropped weight can win its place back, and then nothing has changed.
        assert report["events"]["regrown"] >= 2
        assert any(not torch.equal(first[name], mask) for name, mask in pruner.masks.items())
        assert {n: int(m.sum()) for n, m in first.items()} == {
            n: int(m.sum()) for n, m in pruner.masks.items()
        }
        assert all(math.isfinite(float(p.detach().abs().max())) for p in pruner.module.parameters())
    finally:
        algorithm.stop()


def test_weights_that_are_set_from_outside_come_under_the_masks() -> None:
    algorithm, dense = build(config(schedule="one_shot")), ppo().build_algo()
    try:
        for _ in range(3):
            algorithm.train()
        assert pruner_of(algorithm).report()["sparsity"] > 0.7
        weights = dense.learner_group.get_weights()
        algorithm.learner_group.set_weights(weights)
        assert exact_on_the_learner(algorithm)
        assert pruner_of(algorithm).report()["sparsity"] > 0.7
    finally:
        algorithm.stop()
        dense.stop()


def exact_on_the_learner(algorithm: Algorithm) -> bool:
    pruner = pruner_of(algorithm)
    return not any(pruner.all_weights[n].detach()[~mask].any() for n, mask in pruner.masks.items())


@pytest.mark.parametrize(
    "changes",
    [
        {"criterion": "activation"},
        {"schedule": "constant", "regrow": "set", "begin": 0.0},
    ],
)
def test_two_learners_keep_the_same_masks(changes) -> None:
    """Each sees its own half of a batch, so their activations differ; the first one decides."""
    pruning = config(**changes)
    algorithm = build(pruning, learners=2)
    try:
        for _ in range(5):
            algorithm.train()

        def state(learner):
            pruner = learner.pruner
            masks = {n: m.numpy() for n, m in pruner.masks.items()}
            weights = {n: w.detach().numpy() for n, w in pruner.all_weights.items()}
            return masks, weights

        first, second = [r.get() for r in algorithm.learner_group.foreach_learner(state)]
        for part, other in zip(first, second, strict=True):
            assert all((value == other[name]).all() for name, value in part.items())
        assert all((weight[~first[0][name]] == 0).all() for name, weight in first[1].items())
        assert sum(int((~mask).sum()) for mask in first[0].values()) > 0
    finally:
        algorithm.stop()


def test_an_env_runner_that_is_restarted_comes_back_with_the_masked_weights() -> None:
    ppo_config = ppo().env_runners(num_env_runners=1)
    algorithm = with_pruning(ppo_config, config(schedule="one_shot")).build_algo()
    try:
        for _ in range(3):
            report = algorithm.train()["pruning"]
        assert report["sparsity"] > 0.7

        def die(runner):
            import os

            os._exit(1)

        algorithm.env_runner_group.foreach_env_runner(
            die, local_env_runner=False, timeout_seconds=5
        )
        group = algorithm.env_runner_group
        # A new process takes as long as the machine is busy; RLlib trains on without it.
        deadline = time.monotonic() + 120
        algorithm.train()
        while group.num_healthy_remote_workers() < 1 and time.monotonic() < deadline:
            time.sleep(0.5)
            algorithm.train()
        algorithm.train()
        assert group.num_healthy_remote_workers() == 1

        def weights(runner):
            return {n: p.detach().numpy() for n, p in runner.module.named_parameters()}

        (found,) = algorithm.env_runner_group.foreach_env_runner(weights, local_env_runner=False)
        pruner = pruner_of(algorithm)
        for name in pruner.weights.policy:
            assert (found[name][~pruner.masks[name].numpy()] == 0).all()
    finally:
        algorithm.stop()


def test_a_learner_that_is_started_anew_from_a_checkpoint_has_its_masks(tmp_path) -> None:
    """RLlib doesn't restart a dead Learner: the training fails and is restored from a checkpoint."""
    pruning = config(criterion="movement")
    algorithm = build(pruning, learners=1)
    try:
        for _ in range(6):
            before = algorithm.train()["pruning"]
        algorithm.save_to_path(tmp_path / "state")
    finally:
        algorithm.stop()
    restored = build(pruning, learners=1)
    try:
        restored.restore_from_path(tmp_path / "state")
        after = restored.train()["pruning"]
        assert before["sparsity"] < after["sparsity"]
        assert after["zeros"] == round(after["target_sparsity"] * after["total_params"])
        assert after["events"]["pruned"] == before["events"]["pruned"] + 1
    finally:
        restored.stop()


def test_a_saved_module_loads_without_this_project(tmp_path) -> None:
    """Hooks and statistics stay beside the module: its checkpoint is plain RLlib's."""
    algorithm = build(config(criterion="activation"))
    try:
        algorithm.train()
        module = algorithm.get_module()
        module.save_to_path(tmp_path / "module")
        loaded = RLModule.from_checkpoint(tmp_path / "module")
        names = {name for name, _ in loaded.named_parameters()}
        assert names == {name for name, _ in ppo_module_parameters()}
        copy.deepcopy(pruner_of(algorithm).module)
    finally:
        algorithm.stop()


def ppo_module_parameters():
    plain = ppo().build_algo()
    try:
        return list(plain.get_module().named_parameters())
    finally:
        plain.stop()
