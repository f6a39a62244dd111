"""A plain checkpoint pruned: exact counts, held masks, statistics gathered first. 352 weights a path."""

import pytest
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core import DEFAULT_MODULE_ID

from rllib_ext import PruningConfig, with_pruning
from rllib_ext.checkpoint.pruned import (
    env_steps_of,
    gather_statistics,
    in_one_process,
    load_for_pruning,
    prune_now,
    report_of,
)
from rllib_ext.checkpoint.reading import read_ppo_config
from rllib_ext.pruning.errors import CheckpointError, ConfigError
from rllib_ext.rl.callback import masks_of

pytestmark = pytest.mark.ray

TOTAL = 352


@pytest.fixture
def load(ppo_checkpoint):
    """Loads the checkpoint for pruning; everything that was loaded is stopped afterwards."""
    loaded = []

    def build(folder=ppo_checkpoint, lr=None, **pruning):
        ppo = in_one_process(read_ppo_config(folder), seed=3, lr=lr)
        loaded.append(load_for_pruning(folder, ppo, PruningConfig(**pruning)))
        return loaded[-1]

    yield build
    for algorithm in loaded:
        algorithm.stop()


def runner_weights(algorithm):
    """The policy path as the EnvRunner plays it."""
    parameters = algorithm.env_runner.module.named_parameters()
    return {name: p.detach().clone() for name, p in parameters if name.endswith("weight")}


def learner_weights(algorithm):
    learner = algorithm.learner_group._learner
    return {name: w.detach().clone() for name, w in learner.pruner.all_weights.items()}


def zeros(weights):
    return sum(int((w == 0.0).sum()) for w in weights.values())


def rate(algorithm):
    return algorithm.learner_group._learner.get_optimizer().param_groups[0]["lr"]


def flat(weights):
    return torch.cat([w.flatten() for w in weights.values()])


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_checkpoint_comes_back_as_it_was(load, ppo_checkpoint):
    restored, plain = load(final_sparsity=0.0), Algorithm.from_checkpoint(str(ppo_checkpoint))
    try:
        trained = plain.learner_group._learner.module[DEFAULT_MODULE_ID].state_dict()
    finally:
        plain.stop()
    ours = learner_weights(restored)
    assert all(torch.equal(ours[name], trained[name]) for name in ours)
    assert same(runner_weights(restored), {n: ours[n] for n in runner_weights(restored)})
    assert restored.iteration == 8
    assert env_steps_of(restored) >= 8 * 256


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.999])
def test_counts_are_exact_where_episodes_are_played_and_the_smallest_weights_go(load, sparsity):
    algorithm = load(final_sparsity=sparsity, count="kept")
    before = flat(runner_weights(algorithm))
    prune_now(algorithm)
    after = flat(runner_weights(algorithm))
    gone = after == 0.0
    assert int(gone.sum()) == round(sparsity * TOTAL)
    assert torch.equal(after[~gone], before[~gone])
    if 0.0 < sparsity < 0.99:
        assert before[gone].abs().max() <= before[~gone].abs().min()
    report = report_of(algorithm)
    assert report["nonzero_params"] == TOTAL - round(sparsity * TOTAL)
    assert report["critic_sparsity"] == 0.0


@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.98])
def test_as_many_weights_stay_as_were_asked_for_and_all_are_at_work(load, sparsity):
    algorithm = load(final_sparsity=sparsity)
    before = flat(runner_weights(algorithm))
    prune_now(algorithm)
    weights = runner_weights(algorithm)
    after = flat(weights)
    kept = after != 0.0
    assert int(kept.sum()) == TOTAL - round(sparsity * TOTAL)
    assert torch.equal(after[kept], before[kept])
    first, second, head = weights.values()
    # Of two hidden layers, each unit that is read reads something, and the other way round.
    assert torch.equal((first != 0).any(1), (second != 0).any(0))
    assert torch.equal((second != 0).any(1), (head != 0).any(0))


def test_a_threshold_takes_what_lies_below_it(load):
    algorithm = load(final_sparsity=None, threshold=0.2, count="kept")
    before = flat(runner_weights(algorithm))
    prune_now(algorithm)
    assert torch.equal(flat(runner_weights(algorithm)) == 0.0, before.abs() < 0.2)


@pytest.mark.parametrize(
    "pruning",
    [
        {"final_sparsity": 0.8, "critic_final_sparsity": 0.3},
        # As training goes on, further weights fall below it.
        {"final_sparsity": None, "threshold": 0.25},
        {"final_sparsity": 0.5, "granularity": "neuron"},
        {"final_sparsity": 0.5, "exclude": ("pi.*",), "scope": "layerwise"},
    ],
    ids=str,
)
def test_retraining_moves_weights_and_holds_masks(load, pruning):
    algorithm = load(lr=0.02, **pruning)
    prune_now(algorithm)
    masks, pruned = masks_of(algorithm), learner_weights(algorithm)
    assert zeros(pruned) > 0
    for _ in range(3):
        algorithm.train()
        weights = learner_weights(algorithm)
        assert same(masks_of(algorithm), masks)
        assert all(bool((weights[name][~mask] == 0.0).all()) for name, mask in masks.items())
        played = runner_weights(algorithm)
        assert all(torch.equal(played[name], weights[name]) for name in played if name in weights)
    assert not same(weights, pruned)
    if pruning.get("threshold"):
        kept = flat(weights)[flat(masks)]
        assert bool((kept.abs() < 0.25).any()), "the test needs weights that move below it"


def test_everything_below_a_threshold_can_go(load):
    algorithm = load(final_sparsity=None, threshold=1e6, count="kept")
    prune_now(algorithm)
    algorithm.train()
    assert zeros(runner_weights(algorithm)) == TOTAL


@pytest.mark.parametrize("criterion", ["gradient", "movement", "activation"])
def test_statistics_are_gathered_on_a_copy_that_is_thrown_away(load, criterion):
    pruning = {"criterion": criterion, "final_sparsity": 0.0}
    gathering = load(**pruning)
    statistics = gather_statistics(gathering, iterations=1)
    assert zeros(learner_weights(gathering)) == 0
    algorithm = load(criterion=criterion, final_sparsity=0.5)
    before = flat(runner_weights(algorithm))
    prune_now(algorithm, statistics)
    after = flat(runner_weights(algorithm))
    assert int((after == 0.0).sum()) == TOTAL // 2
    assert torch.equal(after[after != 0.0], before[after != 0.0])
    by_magnitude = before.abs() <= before.abs().sort().values[TOTAL // 2 - 1]
    assert not torch.equal(after == 0.0, by_magnitude)


def test_without_statistics_such_a_criterion_prunes_nothing(load):
    algorithm = load(criterion="gradient", final_sparsity=0.5)
    prune_now(algorithm)
    assert zeros(runner_weights(algorithm)) == 0


def test_a_learning_rate_schedule_goes_on_where_it_was(small_ppo, load, tmp_path):
    falling = [[0, 1e-3], [1024, 1e-4], [2048, 1e-5]]
    algorithm = small_ppo(lr=falling).build_algo()
    for _ in range(4):
        algorithm.train()
    algorithm.save_to_path(tmp_path / "falling")
    algorithm.stop()
    on, own = load(tmp_path / "falling"), load(tmp_path / "falling", lr=0.05)
    assert env_steps_of(on) >= 1024
    assert rate(on) <= 1e-4
    assert rate(own) == 0.05


def test_a_checkpoint_that_was_pruned_before_goes_on_from_its_masks(small_ppo, load, tmp_path):
    config = with_pruning(
        small_ppo(), PruningConfig(final_sparsity=0.5, schedule="constant", horizon=10_000)
    )
    algorithm = config.build_algo()
    algorithm.train()
    masks = masks_of(algorithm)
    algorithm.save_to_path(tmp_path / "half")
    algorithm.stop()
    further = load(tmp_path / "half", final_sparsity=0.8)
    prune_now(further)
    assert zeros(runner_weights(further)) == round(0.8 * TOTAL)
    assert all(not bool((m & ~masks[name]).any()) for name, m in masks_of(further).items())
    lower = load(tmp_path / "half", final_sparsity=0.2)
    prune_now(lower)
    assert same(masks_of(lower), masks)


def test_a_filter_of_observations_comes_along(small_ppo, load, tmp_path):
    def moments(algorithm):
        (found,) = [
            connector.get_state()
            for connector in algorithm.env_runner._env_to_module.connectors
            if isinstance(connector, MeanStdFilter)
        ]
        return str(found)

    config = small_ppo().env_runners(env_to_module_connector=lambda *a, **k: MeanStdFilter())
    algorithm = config.build_algo()
    fresh = moments(algorithm)
    algorithm.train()
    algorithm.save_to_path(tmp_path / "filtered")
    seen = moments(algorithm)
    algorithm.stop()
    pruned = load(tmp_path / "filtered", final_sparsity=0.5)
    prune_now(pruned)
    assert moments(pruned) == seen != fresh


def test_a_filter_comes_along_from_an_algorithm_that_samples_elsewhere_only(
    small_ppo, load, tmp_path
):
    config = small_ppo().env_runners(env_to_module_connector=lambda *a, **k: MeanStdFilter())
    config.env_runners(num_env_runners=1, create_local_env_runner=False)
    algorithm = config.build_algo()
    for _ in range(2):
        algorithm.train()
    algorithm.save_to_path(tmp_path / "elsewhere")
    seen = algorithm.env_to_module_connector.get_state()["MeanStdFilter"]
    algorithm.stop()
    pruned = load(tmp_path / "elsewhere", final_sparsity=0.5)
    prune_now(pruned)
    found = pruned.env_runner._env_to_module.get_state()["MeanStdFilter"]
    assert str(found) == str(seen)
    assert found[None]["running_stats"][0]["num_pushes"] >= 2 * 256


def test_batches_of_several_learners_stay_as_large():
    several = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=4)
    several.learners(num_learners=3, num_gpus_per_learner=1)
    several.training(train_batch_size_per_learner=100, minibatch_size=50)
    several.evaluation(
        evaluation_interval=1,
        evaluation_num_env_runners=2,
        evaluation_parallel_to_training=True,
        evaluation_duration="auto",
    )
    alone = in_one_process(several, seed=5)
    alone.copy(copy_frozen=False).validate()
    assert alone.total_train_batch_size == several.total_train_batch_size == 300
    assert (alone.minibatch_size, alone.num_learners, alone.num_env_runners) == (150, 0, 0)
    assert (alone.evaluation_interval, alone.seed) == (None, 5)
    assert several.num_learners == 3


def test_a_checkpoint_of_another_network_is_refused(ppo_checkpoint):
    other = in_one_process(read_ppo_config(ppo_checkpoint), seed=0)
    other.rl_module(model_config={"fcnet_hiddens": [8]})
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_for_pruning(ppo_checkpoint, other, PruningConfig())


def test_what_pruning_refuses_is_refused_here(load):
    with pytest.raises(ConfigError, match="no prunable weights"):
        load(exclude=("*",))
