"""The Learner in real PPO runs on CartPole. n = 4·16 + 16·16 + 16·2 = 352 weights on each path."""

import copy
import itertools

import pytest
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner

from rllib_ext import PruningConfig, with_pruning
from rllib_ext.pruning.errors import CheckpointError
from rllib_ext.pruning.training.pruner import Pruner
from rllib_ext.rl.learner import PruningPPOTorchLearner

pytestmark = pytest.mark.ray

MODULE = "default_policy"
ACTOR = {
    "encoder.actor_encoder.net.mlp.0.weight": 4 * 16,
    "encoder.actor_encoder.net.mlp.2.weight": 16 * 16,
    "pi.net.mlp.0.weight": 16 * 2,
}
CRITIC = {
    "encoder.critic_encoder.net.mlp.0.weight": 4 * 16,
    "encoder.critic_encoder.net.mlp.2.weight": 16 * 16,
    "vf.net.mlp.0.weight": 16,
}
ITERATION = 256
EIGHT_ITERATIONS = 8 * ITERATION


class RecordingLearner(PruningPPOTorchLearner):
    """Records what holds after every optimizer step, and each gradient before and after clipping."""

    def build(self):
        super().build()
        self.worst_masked_weight = 0.0
        self.steps = 0
        self.last_gradients = None

    def postprocess_gradients(self, gradients_dict):
        before = {ref: gradient.clone() for ref, gradient in gradients_dict.items()}
        after = super().postprocess_gradients(gradients_dict)
        self.last_gradients = (before, {ref: g.clone() for ref, g in after.items()})
        return after

    def apply_gradients(self, gradients_dict):
        super().apply_gradients(gradients_dict)
        self.steps += 1
        for name, mask in self.pruner.masks.items():
            masked = self.pruner.all_weights[name].detach()[~mask]
            if masked.numel():
                worst = float(masked.abs().max())
                self.worst_masked_weight = max(self.worst_masked_weight, worst)


def learner_of(algorithm):
    return algorithm.learner_group._learner


def weights_of(module, names):
    parameters = dict(module.named_parameters())
    return {name: parameters[name].detach().cpu().clone() for name in names if name in parameters}


def zeros(weights):
    return sum(int((w == 0.0).sum()) for w in weights.values())


def moments_of(learner):
    optimizer = learner.get_optimizer(MODULE)
    return {
        name: {k: v.clone() for k, v in optimizer.state[weight].items()}
        for name, weight in learner.pruner.all_weights.items()
    }


def standing(algorithm, result):
    """Weights, masks and moments on the Learner, weights on the EnvRunner, and the result."""
    learner = learner_of(algorithm)
    names = [*ACTOR, *CRITIC]
    return {
        "learner": weights_of(learner.module[MODULE], names),
        "runner": weights_of(algorithm.env_runner.module, names),
        "masks": {name: mask.clone() for name, mask in learner.pruner.masks.items()},
        "moments": moments_of(learner),
        "clock": int(result["num_env_steps_sampled_lifetime"]),
        "pruning": copy.deepcopy(result["pruning"]),
    }


def train(algorithm, iterations):
    return [standing(algorithm, algorithm.train()) for _ in range(iterations)]


def cubic_sparsity(clock, begin, end, final, horizon):
    p = min(1.0, max(0.0, (clock / horizon - begin) / (end - begin)))
    return final * (1.0 - (1.0 - p) ** 3)


def assert_exact(record, sparsity, critic_sparsity=0.0):
    """Learner and EnvRunner hold the same weights, zero where masked, and exactly round(s·n) zeros."""
    learner, runner, masks = record["learner"], record["runner"], record["masks"]
    assert set(masks) == {*ACTOR, *CRITIC}
    for name, mask in masks.items():
        assert bool((learner[name][~mask] == 0.0).all())
    for name in ACTOR:
        assert torch.equal(learner[name], runner[name])
    actor, critic = ({n: learner[n] for n in names} for names in (ACTOR, CRITIC))
    assert zeros(actor) == round(sparsity * sum(ACTOR.values()))
    assert zeros(critic) == round(critic_sparsity * sum(CRITIC.values()))
    assert sum(int((~masks[name]).sum()) for name in ACTOR) == zeros(actor)


@pytest.fixture(scope="module", params=["global", "layerwise"])
def run(request, small_ppo):
    pruning = PruningConfig(
        final_sparsity=0.9,
        critic_final_sparsity=0.5,
        schedule="cubic",
        begin=0.2,
        end=1.0,
        horizon=EIGHT_ITERATIONS,
        scope=request.param,
        # Dead weights go from each layer as they fall, which no share of a layer foresees.
        count="kept" if request.param == "layerwise" else "live",
    )
    ppo = small_ppo().learners(learner_class=RecordingLearner)
    algorithm = with_pruning(ppo, pruning).build_algo()
    records = train(algorithm, 8)
    yield algorithm, pruning, records
    algorithm.stop()


def test_masked_weights_are_zero_and_their_number_is_exact_at_every_iteration(run):
    _, pruning, records = run
    for record in records:
        target, critic_target = (
            cubic_sparsity(record["clock"], 0.2, 1.0, final, EIGHT_ITERATIONS)
            for final in (pruning.final_sparsity, pruning.critic_final_sparsity)
        )
        assert_exact(record, target, critic_target)
    counts = [zeros({n: r["learner"][n] for n in ACTOR}) for r in records]
    assert counts[0] == 0
    assert counts == sorted(set(counts))


def test_masked_weights_are_zero_after_every_optimizer_step(run):
    algorithm, _, _ = run
    learner = learner_of(algorithm)
    assert learner.steps >= 8 * 2 * ITERATION / 128
    assert learner.worst_masked_weight == 0.0


def test_the_decision_for_the_last_update_is_applied(run):
    _, _, records = run
    assert records[-1]["clock"] >= EIGHT_ITERATIONS
    assert_exact(records[-1], 0.9, 0.5)


def test_masks_only_lose_elements(run):
    _, _, records = run
    for before, after in itertools.pairwise(records):
        for name, mask in after["masks"].items():
            assert not bool((mask & ~before["masks"][name]).any())


def test_layerwise_scope_prunes_every_layer_alike_and_global_does_not(run):
    _, pruning, records = run
    shares = [float((records[-1]["learner"][name] == 0.0).float().mean()) for name in ACTOR]
    spread = max(shares) - min(shares)
    assert (spread <= 1 / 16) == (pruning.scope == "layerwise")


def test_adam_moments_of_pruned_weights_are_zero_and_those_of_kept_ones_live(run):
    _, _, records = run
    for record in records[1:]:
        for name, mask in record["masks"].items():
            for key in ("exp_avg", "exp_avg_sq"):
                moment = record["moments"][name][key]
                assert bool((moment[~mask] == 0.0).all())
                assert bool((moment[mask] != 0.0).any())


def test_the_result_reports_what_the_weights_show(run):
    _, _, records = run
    for record in records:
        report = record["pruning"]
        actor = {n: record["runner"][n] for n in ACTOR}
        assert report["zeros"] == zeros(actor)
        assert report["total_params"] == 352
        assert report["nonzero_params"] == 352 - zeros(actor)
        assert report["sparsity"] == zeros(actor) / 352
        assert report["critic_sparsity"] == zeros({n: record["learner"][n] for n in CRITIC}) / 336
        assert report["env_steps"] == record["clock"]
        assert report["progress"] == record["clock"] / EIGHT_ITERATIONS
        assert abs(report["target_sparsity"] - report["sparsity"]) <= 0.5 / 352
        assert report["layers"] == {
            name: float((w == 0.0).double().mean()) for name, w in record["learner"].items()
        }
    assert [r["pruning"]["event"] for r in records] == ["", *["pruned"] * 7]
    events = records[-1]["pruning"]["events"]
    assert {event: count for event, count in events.items() if count} == {"pruned": 7}


class NoisyLearner(PPOTorchLearner):
    """A user's Learner that moves every weight at every step, past the gradients."""

    def apply_gradients(self, gradients_dict):
        super().apply_gradients(gradients_dict)
        with torch.no_grad():
            for parameter in self.module[MODULE].parameters():
                parameter += 0.01


def test_masks_hold_whatever_a_users_learner_does_to_the_weights(small_ppo):
    pruning = PruningConfig(final_sparsity=0.9, begin=0.0, end=1.0, horizon=3 * ITERATION)
    ppo = small_ppo().learners(learner_class=NoisyLearner)
    algorithm = with_pruning(ppo, pruning).build_algo()
    for record in train(algorithm, 3):
        target = cubic_sparsity(record["clock"], 0.0, 1.0, 0.9, 3 * ITERATION)
        assert_exact(record, target)
    algorithm.stop()


def test_gradients_are_masked_before_they_are_clipped(small_ppo):
    clip = 0.05
    ppo = small_ppo(grad_clip=clip, grad_clip_by="global_norm")
    ppo.learners(learner_class=RecordingLearner)
    pruning = PruningConfig(
        final_sparsity=0.9, critic_final_sparsity=0.9, schedule="one_shot", begin=0.0, horizon=1
    )
    algorithm = with_pruning(ppo, pruning).build_algo()
    algorithm.train()
    learner = learner_of(algorithm)
    masks = {id(learner.pruner.all_weights[n]): m for n, m in learner.pruner.masks.items()}
    before, after = learner.last_gradients
    algorithm.stop()

    def clipped(gradients):
        parameters = [torch.nn.Parameter(torch.zeros_like(g)) for g in gradients]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip)
        return float(norm), [p.grad for p in parameters]

    masked = [g * masks[id(ref)] if id(ref) in masks else g for ref, g in before.items()]
    masked_norm, expected = clipped(masked)
    full_norm, _ = clipped(list(before.values()))
    assert clip < masked_norm < 0.95 * full_norm
    for gradient, reference in zip(after.values(), expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-8)


def test_training_goes_on_exactly_after_save_and_restore(small_ppo, tmp_path):
    horizon = 6 * ITERATION
    pruning = PruningConfig(final_sparsity=0.95, begin=0.0, end=1.0, horizon=horizon)
    config = with_pruning(small_ppo(), pruning)
    algorithm = config.build_algo()
    last = train(algorithm, 3)[-1]
    algorithm.save_to_path(tmp_path / "state")
    algorithm.stop()

    fresh = config.copy(copy_frozen=False).build_algo()
    fresh.restore_from_path(tmp_path / "state")
    from_checkpoint = type(algorithm).from_checkpoint(str(tmp_path / "state"))
    for restored in (fresh, from_checkpoint):
        learner = learner_of(restored)
        for name, mask in last["masks"].items():
            assert torch.equal(learner.pruner.masks[name], mask)
            assert torch.equal(learner.pruner.all_weights[name], last["learner"][name])
            for key, moment in last["moments"][name].items():
                assert torch.equal(moments_of(learner)[name][key], moment)
        runner = weights_of(restored.env_runner.module, ACTOR)
        assert zeros(runner) == zeros({n: last["learner"][n] for n in ACTOR})
        for record in train(restored, 3):
            assert record["clock"] > last["clock"]
            assert_exact(record, cubic_sparsity(record["clock"], 0.0, 1.0, 0.95, horizon))
        assert record["pruning"]["zeros"] == round(0.95 * 352)
        assert record["pruning"]["events"]["pruned"] == 6
        restored.stop()


def test_the_kl_coefficient_survives_restoring_and_rests_in_a_pruning_update(small_ppo, tmp_path):
    # With so small a target every update raises the coefficient by half.
    ppo = small_ppo(use_kl_loss=True, kl_coeff=0.2, kl_target=1e-12)
    pruning = PruningConfig(
        final_sparsity=0.5, schedule="one_shot", begin=0.4, horizon=4 * ITERATION
    )
    config = with_pruning(ppo, pruning)
    algorithm = config.build_algo()

    def coefficient(algorithm):
        return float(learner_of(algorithm).curr_kl_coeffs_per_module[MODULE])

    seen = []
    for _ in range(3):
        event = algorithm.train()["pruning"]["event"]
        seen.append((event, coefficient(algorithm)))
    algorithm.save_to_path(tmp_path / "state")
    algorithm.stop()
    expected = [("", 0.2 * 1.5), ("pruned", 0.2 * 1.5), ("", 0.2 * 1.5**2)]
    assert [e for e, _ in seen] == [e for e, _ in expected]
    assert [c for _, c in seen] == pytest.approx([c for _, c in expected], rel=1e-6)

    restored = config.copy(copy_frozen=False).build_algo()
    assert coefficient(restored) == pytest.approx(0.2)
    restored.restore_from_path(tmp_path / "state")
    assert coefficient(restored) == seen[-1][1]
    restored.train()
    assert coefficient(restored) == pytest.approx(0.2 * 1.5**3, rel=1e-6)
    restored.stop()


class RatesLearner(PruningPPOTorchLearner):
    """Records the learning rate of every optimizer step."""

    def build(self):
        super().build()
        self.rates = set()

    def apply_gradients(self, gradients_dict):
        # As numbers: RLlib overwrites the tensors that they are.
        self.rates.update(
            float(g["lr"]) for o in self._named_optimizers.values() for g in o.param_groups
        )
        super().apply_gradients(gradients_dict)


def test_the_learning_rate_goes_up_after_a_round_and_falls_back_to_its_schedule(
    small_ppo, tmp_path
):
    schedule = [[0, 4e-3], [8 * ITERATION, 2e-3]]
    ppo = small_ppo(lr=schedule).learners(learner_class=RatesLearner)
    pruning = PruningConfig(
        final_sparsity=0.5, schedule="one_shot", begin=0.3, horizon=8 * ITERATION, lr_restart=3.0,
        lr_restart_span=0.25,
    )  # fmt: skip
    config = with_pruning(ppo, pruning)
    algorithm = config.build_algo()
    assert next(iter(learner_of(algorithm)._optimizer_lr_schedules.values())).update(0) == 4e-3

    clocks = [0]

    def rates(algorithm):
        learner = learner_of(algorithm)
        learner.rates.clear()
        clock = algorithm.train()["num_env_steps_sampled_lifetime"]
        (rate,) = learner.rates
        (group,) = learner.get_optimizer(MODULE).param_groups
        # Between updates the optimizer has what the schedule says, and so has a checkpoint.
        assert group["lr"] == pytest.approx(4e-3 - 2e-3 * clock / (8 * ITERATION))
        # As RLlib has it, an update's rate is that of the clock before it.
        usual = 4e-3 - 2e-3 * clocks[-1] / (8 * ITERATION)
        clocks.append(clock)
        return rate / usual

    seen = [rates(algorithm) for _ in range(4)]
    algorithm.save_to_path(tmp_path / "state")
    seen += [rates(algorithm) for _ in range(2)]
    # Iterations are a few steps longer than they should be.
    assert seen == pytest.approx([1.0, 1.0, 3.0, 2.0, 1.0, 1.0], rel=0.03)
    assert seen[2] == pytest.approx(3.0)
    algorithm.stop()

    early = config.copy(copy_frozen=False).build_algo()
    early.restore_from_path(tmp_path / "state")
    clocks[:] = clocks[:5]
    assert rates(early) == pytest.approx(seen[4])
    early.stop()


def test_a_checkpoint_for_another_network_is_refused(small_ppo):
    pruning = PruningConfig(horizon=1000)
    module = torch.nn.Sequential(torch.nn.Linear(3, 2))
    state = Pruner(module, list, pruning).state_dict()
    algorithm = with_pruning(small_ppo(), pruning).build_algo()
    with pytest.raises(CheckpointError, match="masks are for") as caught:
        learner_of(algorithm).set_state({"pruning": state})
    assert "0.weight" in str(caught.value)
    algorithm.stop()
