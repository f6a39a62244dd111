"""Users' own Learners, optimizers and torch schedulers under pruning, in real PPO runs on CartPole."""

import functools

import pytest
import torch
from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import ALL_MODULES
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_ext import PruningConfig, with_pruning
from rllib_ext.pruning.training.optimizer import clear_moments_
from rllib_ext.rl.learner import PruningPPOTorchLearner

pytestmark = pytest.mark.ray

MODULE = "default_policy"
ITERATION = 256
PER_PATH = 4 * 16 + 16 * 16 + 16 * 2
AT_ONCE = PruningConfig(
    final_sparsity=0.9, critic_final_sparsity=0.5, schedule="one_shot", begin=0.0, horizon=ITERATION
)


def learner_of(algorithm):
    return algorithm.learner_group._learner


def masked_values(algorithm):
    """What stands where the masks say zero: on the Learner and on the EnvRunner."""
    pruner = learner_of(algorithm).pruner
    on_runner = dict(algorithm.env_runner.module.named_parameters())
    return torch.cat(
        [
            weights[name].detach()[~mask]
            for weights in (pruner.all_weights, on_runner)
            for name, mask in pruner.masks.items()
            if name in weights
        ]
    )


def stale_moments(learner):
    """Entries of moments that are not zero although their weight is masked."""
    return sum(
        int(torch.count_nonzero(moment[~mask]))
        for optimizer in learner._named_optimizers.values()
        for name, mask in learner.pruner.masks.items()
        for moment in optimizer.state.get(learner.pruner.all_weights[name], {}).values()
        if isinstance(moment, torch.Tensor) and moment.shape == mask.shape
    )


def rates(algorithm):
    learner = learner_of(algorithm)
    return [g["lr"] for o in learner._named_optimizers.values() for g in o.param_groups]


# Weights that a hook edits.


class Averaging(PPOTorchLearner):
    """Averages weights over updates, in the hook that RLlib offers for that."""

    def build(self):
        super().build()
        self.average = {n: p.detach().clone() for n, p in self.module[MODULE].named_parameters()}

    def after_gradient_based_update(self, *, timesteps):
        super().after_gradient_based_update(timesteps=timesteps)
        with torch.no_grad():
            for name, parameter in self.module[MODULE].named_parameters():
                self.average[name].lerp_(parameter, 0.5)
                parameter.copy_(self.average[name])


class AveragingPruner(PruningPPOTorchLearner):
    """Derived from the Learner that prunes: its hook runs after ours."""

    def after_gradient_based_update(self, *, timesteps):
        super().after_gradient_based_update(timesteps=timesteps)
        with torch.no_grad():
            for parameter in self.module[MODULE].parameters():
                parameter += 0.01


@pytest.mark.parametrize("users", [Averaging, AveragingPruner])
def test_weights_that_a_users_hook_edits_after_an_update_keep_their_masks(small_ppo, users):
    algorithm = with_pruning(small_ppo().learners(learner_class=users), AT_ONCE).build_algo()
    for _ in range(2):
        result = algorithm.train()
        assert not masked_values(algorithm).any()
        assert result["pruning"]["zeros"] == round(0.9 * PER_PATH)
    algorithm.stop()


class NoisyGradients(PPOTorchLearner):
    """Adds noise to gradients where RLlib lets users change them."""

    def postprocess_gradients(self, gradients_dict):
        gradients = super().postprocess_gradients(gradients_dict)
        return {ref: g + 0.01 * torch.randn_like(g) for ref, g in gradients.items()}


def test_noise_that_a_user_adds_to_gradients_does_not_reach_moments_of_pruned_weights(small_ppo):
    ppo = small_ppo().learners(learner_class=NoisyGradients)
    algorithm = with_pruning(ppo, AT_ONCE).build_algo()
    algorithm.train()
    algorithm.train()
    assert not masked_values(algorithm).any()
    assert stale_moments(learner_of(algorithm)) == 0
    algorithm.stop()


# Optimizers.


class OneForAll(PPOTorchLearner):
    """One optimizer for whatever modules there are."""

    optimizer_class = functools.partial(torch.optim.Adam)

    def configure_optimizers(self):
        parameters = [p for module in self.module.values() for p in module.parameters()]
        self.register_optimizer(
            module_id=ALL_MODULES,
            optimizer=self.optimizer_class(parameters, lr=1e-3),
            params=parameters,
            lr_or_lr_schedule=self.config.lr,
        )


class OneWithMomentum(OneForAll):
    """The same with SGD's momentum."""

    optimizer_class = functools.partial(torch.optim.SGD, momentum=0.9)


class TwoForOne(PPOTorchLearner):
    """An optimizer each for the two paths of the one module."""

    def configure_optimizers_for_module(self, module_id, config=None):
        for name, critic in (("actor", False), ("critic", True)):
            parameters = [
                p
                for n, p in self.module[module_id].named_parameters()
                if (n.startswith("vf.") or "critic_encoder" in n) == critic
            ]
            optimizer = torch.optim.AdamW(parameters, amsgrad=critic)
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=optimizer,
                params=parameters,
                lr_or_lr_schedule=config.lr,
            )


@pytest.mark.parametrize("users", [OneForAll, OneWithMomentum, TwoForOne])
def test_no_moment_of_a_pruned_weight_survives_whatever_the_optimizers_serve(small_ppo, users):
    pruning = AT_ONCE.replace(begin=0.75, horizon=2 * ITERATION)
    algorithm = with_pruning(small_ppo().learners(learner_class=users), pruning).build_algo()
    algorithm.train()
    learner = learner_of(algorithm)
    assert not any((~mask).any() for mask in learner.pruner.masks.values())
    moving = sum(
        int(torch.count_nonzero(value))
        for optimizer in learner._named_optimizers.values()
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.dim()
    )
    assert moving > PER_PATH
    assert algorithm.train()["pruning"]["event"] == "pruned"
    assert not masked_values(algorithm).any()
    assert stale_moments(learner) == 0
    algorithm.stop()


def test_rewinding_forgets_the_moments_of_an_optimizer_of_all_modules(small_ppo):
    pruning = PruningConfig(
        schedule="iterative",
        rewind_to=0.0,
        begin=0.0,
        end=1.0,
        final_sparsity=0.5,
        horizon=2 * ITERATION,
    )
    ppo = small_ppo().learners(learner_class=OneForAll)
    algorithm = with_pruning(ppo, pruning).build_algo()
    while algorithm.train()["pruning"]["event"] != "rewound":
        pass
    (optimizer,) = learner_of(algorithm)._named_optimizers.values()
    assert not any(optimizer.state.values())
    algorithm.stop()


# Learning rates.


def halved():
    return functools.partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)


def by_formula():
    """Its rates depend on how often it has stepped, and on nothing that lies in the optimizer."""
    return functools.partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=_half_to_the)


def _half_to_the(step):
    return 0.5**step


def scheduled(small_ppo, scheduler, lr=0.03):
    ppo = small_ppo(lr=lr).experimental(_torch_lr_scheduler_classes=[scheduler()])
    return with_pruning(ppo, PruningConfig(horizon=10 * ITERATION))


@pytest.mark.parametrize("scheduler", [halved, by_formula])
def test_learning_rates_of_a_torch_scheduler_go_on_after_a_restore(small_ppo, tmp_path, scheduler):
    config = scheduled(small_ppo, scheduler)
    algorithm = config.build_algo()
    for _ in range(3):
        algorithm.train()
    assert rates(algorithm) == [pytest.approx(0.00375)]
    algorithm.save_to_path(tmp_path / "state")
    algorithm.stop()
    fresh = config.copy(copy_frozen=False).build_algo()
    fresh.restore_from_path(tmp_path / "state")
    again = type(algorithm).from_checkpoint(str(tmp_path / "state"))
    for restored in (fresh, again):
        assert rates(restored) == [pytest.approx(0.00375)]
        restored.train()
        assert rates(restored) == [pytest.approx(0.001875)]
    # In place, over an algorithm that has gone on.
    fresh.train()
    fresh.restore_from_path(tmp_path / "state")
    assert rates(fresh) == [pytest.approx(0.00375)]
    fresh.train()
    assert rates(fresh) == [pytest.approx(0.001875)]
    for restored in (fresh, again):
        restored.stop()


@pytest.mark.parametrize("scheduler", [halved, by_formula])
def test_a_clones_own_learning_rate_goes_on_down_the_donors_schedule(
    small_ppo, tmp_path, scheduler
):
    donor = scheduled(small_ppo, scheduler).build_algo()
    for _ in range(3):
        donor.train()
    donor.save_to_path(tmp_path / "state")
    donor.stop()
    clone = scheduled(small_ppo, scheduler, lr=0.06).build_algo()
    clone.restore_from_path(tmp_path / "state")
    assert rates(clone) == [pytest.approx(0.0075)]
    clone.train()
    assert rates(clone) == [pytest.approx(0.00375)]
    clone.save_to_path(tmp_path / "clone")
    clone.restore_from_path(tmp_path / "clone")
    assert rates(clone) == [pytest.approx(0.00375)]
    clone.stop()


def test_a_schedulers_rates_in_a_plain_checkpoint_are_taken_over_too(small_ppo, tmp_path):
    ppo = small_ppo(lr=0.03).experimental(_torch_lr_scheduler_classes=[halved()])
    plain = ppo.copy(copy_frozen=False).build_algo()
    for _ in range(3):
        plain.train()
    plain.save_to_path(tmp_path / "state")
    plain.stop()
    algorithm = with_pruning(ppo, PruningConfig(horizon=10 * ITERATION)).build_algo()
    algorithm.restore_from_path(tmp_path / "state")
    assert rates(algorithm) == [pytest.approx(0.00375)]
    algorithm.train()
    assert rates(algorithm) == [pytest.approx(0.001875)]
    algorithm.stop()


def test_a_clones_constant_rate_is_its_own_from_the_first_update(small_ppo, tmp_path):
    donor = with_pruning(small_ppo(lr=1e-3), AT_ONCE).build_algo()
    donor.train()
    donor.save_to_path(tmp_path / "state")
    donor.stop()
    clone = with_pruning(small_ppo(lr=7e-5), AT_ONCE).build_algo()
    clone.restore_from_path(tmp_path / "state")
    assert rates(clone) == [7e-5]
    clone.stop()


def test_a_schedule_of_the_entropy_bonus_goes_on_after_a_restore(small_ppo, tmp_path):
    ppo = small_ppo(entropy_coeff=[[0, 0.1], [4 * ITERATION, 0.0]])
    config = with_pruning(ppo, PruningConfig(horizon=10 * ITERATION))
    algorithm = config.build_algo()
    algorithm.train()
    algorithm.train()

    def bonus(of):
        schedule = learner_of(of).entropy_coeff_schedulers_per_module[MODULE]
        return float(schedule.get_current_value())

    before = bonus(algorithm)
    assert 0.0 < before < 0.06
    algorithm.save_to_path(tmp_path / "state")
    algorithm.stop()
    restored = config.copy(copy_frozen=False).build_algo()
    restored.restore_from_path(tmp_path / "state")
    assert bonus(restored) == pytest.approx(before)
    restored.stop()


# What a criterion sees.


def statistics_after_an_update(ppo, criterion):
    pruning = PruningConfig(criterion=criterion, begin=0.5, horizon=100 * ITERATION)
    algorithm = with_pruning(ppo, pruning).build_algo()
    algorithm.train()
    gatherer = learner_of(algorithm).pruner.gatherer
    (kind,) = gatherer.kinds
    found = gatherer.state_dict()[kind]
    algorithm.stop()
    return found


def test_every_layers_activations_count_once_a_minibatch(small_ppo):
    found = statistics_after_an_update(small_ppo(), "activation")
    steps = statistics_after_an_update(small_ppo(), "gradient")
    assert {seen for seen, _ in found.values()} == {seen for seen, _ in steps.values()}


@pytest.mark.parametrize("criterion", ["gradient", "movement"])
def test_gradients_are_seen_without_the_scale_of_a_grad_scaler(small_ppo, criterion):
    scaler = functools.partial(torch.amp.GradScaler, "cpu", init_scale=4096.0)
    plain = statistics_after_an_update(small_ppo(grad_clip=None), criterion)
    scaled = statistics_after_an_update(
        small_ppo(grad_clip=None).experimental(_torch_grad_scaler_class=scaler), criterion
    )
    for name, (seen, value) in plain.items():
        assert scaled[name][0] == seen
        torch.testing.assert_close(
            torch.from_numpy(scaled[name][1]), torch.from_numpy(value), rtol=1e-3, atol=1e-7
        )


class FrozenEncoder(DefaultPPOTorchRLModule):
    """The default network with a policy encoder that stays as it was loaded."""

    def setup(self):
        super().setup()
        self.encoder.actor_encoder.requires_grad_(False)


@pytest.mark.parametrize("criterion", ["gradient", "movement"])
def test_a_frozen_encoder_loses_the_share_of_the_others_and_the_result_says_so(
    small_ppo, criterion
):
    pruning = PruningConfig(
        final_sparsity=0.5,
        schedule="linear",
        begin=0.0,
        horizon=3 * ITERATION,
        criterion=criterion,
        # Dead weights go from each layer as they fall, beyond its share.
        count="kept",
    )
    spec = RLModuleSpec(
        module_class=FrozenEncoder,
        model_config=DefaultModelConfig(fcnet_hiddens=[16, 16], vf_share_layers=False),
        catalog_class=PPOCatalog,
    )
    algorithm = with_pruning(small_ppo().rl_module(rl_module_spec=spec), pruning).build_algo()
    for _ in range(3):
        result = algorithm.train()["pruning"]
    algorithm.stop()
    encoder = [name for name in result["layers"] if "actor_encoder" in name]
    assert result["sparsity"] == 0.5
    assert result["by_magnitude"] == dict.fromkeys(encoder, "requires_grad is False")
    for name in encoder:
        assert result["layers"][name] == pytest.approx(0.5, abs=0.05)


def test_what_clears_moments_reaches_every_optimizer_that_holds_some():
    weight = torch.nn.Parameter(torch.ones(4))
    mask = torch.tensor([True, False, True, False])
    optimizers = [torch.optim.Adam([weight]), torch.optim.SGD([weight], momentum=0.9)]
    weight.grad = torch.ones(4)
    for optimizer in optimizers:
        optimizer.step()
    clear_moments_(optimizers, {"w": weight}, {"w": mask})
    for optimizer in optimizers:
        for moment in optimizer.state[weight].values():
            if moment.shape == mask.shape:
                assert not moment[~mask].any()
                assert moment[mask].all()
