"""`with_pruning` on configurations that users bring."""

import functools

import pytest
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_ext import PruningCallback, PruningConfig, with_pruning
from rllib_ext.pruning.errors import ConfigError, PrunefrontError
from rllib_ext.rl.learner import PruningLearnerMixin, PruningPPOTorchLearner

PRUNING = PruningConfig(final_sparsity=0.5, schedule="one_shot", begin=0.0, horizon=1000)
HALF = round(0.5 * (4 * 16 + 16 * 16 + 16 * 2))


class Tagging(RLlibCallback):
    """A user's callback: tags the result, and reads the report that is already in it."""

    def __init__(self, tag="plain"):
        self.tag = tag

    def on_train_result(self, *, algorithm, result, **kwargs):
        result.setdefault("tags", []).append((self.tag, result["pruning"]["zeros"]))


class Second(Tagging):
    def __init__(self):
        super().__init__("second")


class UsersLearner(PPOTorchLearner):
    """A user's Learner: counts its losses."""

    losses = 0

    def compute_loss_for_module(self, **kwargs):
        self.losses += 1
        return super().compute_loss_for_module(**kwargs)


def tag_by_function(algorithm, result, **kwargs):
    result["function_saw"] = result["pruning"]["zeros"]


@pytest.mark.ray
@pytest.mark.parametrize(
    ("callbacks", "tags"),
    [
        (Tagging, ["plain"]),
        ([Tagging, Second], ["plain", "second"]),
        (functools.partial(Tagging, tag="bound"), ["bound"]),
        ([functools.partial(Tagging, tag="bound"), Second], ["bound", "second"]),
    ],
)
def test_the_users_callbacks_and_learner_run_beside_pruning(small_ppo, tmp_path, callbacks, tags):
    ppo = small_ppo().callbacks(callbacks, on_train_result=tag_by_function)
    ppo.learners(learner_class=UsersLearner, learner_config_dict={"mine": 3})
    config = with_pruning(ppo, PRUNING)
    algorithm = config.build_algo()
    result = algorithm.train()
    learner = algorithm.learner_group._learner
    assert result["tags"] == [(tag, HALF) for tag in tags]
    assert result["function_saw"] == HALF
    assert isinstance(learner, UsersLearner)
    assert isinstance(learner, PruningLearnerMixin)
    assert learner.losses >= 2 * 256 / 128
    assert learner.config.learner_config_dict["mine"] == 3

    algorithm.save_to_path(tmp_path / "state")
    algorithm.stop()
    restored = type(algorithm).from_checkpoint(str(tmp_path / "state"))
    result = restored.train()
    assert result["tags"] == [(tag, HALF) for tag in tags]
    assert restored.learner_group._learner.losses >= 2 * 256 / 128
    restored.stop()


@pytest.mark.ray
def test_the_readme_example_reports_pruning():
    config = with_pruning(
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=0)
        .training(train_batch_size_per_learner=128, minibatch_size=64, num_epochs=1),
        PruningConfig(final_sparsity=0.9, schedule="cubic", begin=0.2, end=0.8, horizon=256),
    )
    algorithm = config.build_algo()
    for _ in range(2):
        report = algorithm.train()["pruning"]
    algorithm.stop()
    assert report["sparsity"] == pytest.approx(0.9, abs=1e-4)


def test_the_users_configuration_is_left_as_it_was(small_ppo):
    ppo = small_ppo().callbacks([Tagging]).learners(learner_class=UsersLearner)
    ppo.learners(learner_config_dict={"mine": 3})
    ppo.freeze()
    before = ppo.to_dict()
    pruned = with_pruning(ppo, PRUNING)
    assert ppo.to_dict() == before
    assert ppo.callbacks_class == [Tagging]
    assert ppo.learner_class is UsersLearner
    assert ppo.learner_config_dict == {"mine": 3}
    assert ppo._is_frozen
    # The copy can be changed further.
    pruned.training(lr=7e-4)
    assert ppo.lr == 1e-3


def test_pruning_again_replaces_the_pruning_and_adds_nothing(small_ppo):
    once = with_pruning(small_ppo(), PRUNING)
    twice = with_pruning(once, PRUNING.replace(final_sparsity=0.7))
    assert twice.callbacks_class == once.callbacks_class
    assert twice.callbacks_class.count(PruningCallback) == 1
    assert twice.learner_class is once.learner_class is PruningPPOTorchLearner
    assert twice.learner_config_dict["pruning"]["final_sparsity"] == 0.7


def old_stack(ppo):
    return ppo.api_stack(
        enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
    )


def two_policies(ppo):
    return ppo.multi_agent(policies={"a", "b"}, policy_mapping_fn=lambda agent, *args, **kw: agent)


def parallel_evaluation(ppo):
    return ppo.evaluation(evaluation_interval=1, evaluation_parallel_to_training=True)


def exploring_evaluation(ppo):
    return ppo.evaluation(evaluation_interval=1, evaluation_config={"explore": True})


def whole_evaluation_config(ppo):
    evaluated = ppo.evaluation(evaluation_interval=1)
    evaluated.evaluation_config = evaluated.copy()
    return evaluated


def shared_encoder(ppo):
    return ppo.rl_module(model_config={"vf_share_layers": True})


def shared_by_dataclass(ppo):
    return ppo.rl_module(model_config=DefaultModelConfig(vf_share_layers=True))


def shared_by_spec(ppo):
    return ppo.rl_module(rl_module_spec=RLModuleSpec(model_config={"vf_share_layers": True}))


def sampling_elsewhere(ppo):
    ppo.env_runners(num_env_runners=1, create_local_env_runner=False)
    return ppo.evaluation(evaluation_interval=1)


def unchanged(ppo):
    return ppo


PLATEAU = PRUNING.replace(schedule="plateau")
REWINDING = PRUNING.replace(schedule="iterative", rewind_to=0.0)
CRITIC = PRUNING.replace(critic_final_sparsity=0.5)


@pytest.mark.parametrize(
    ("change", "pruning", "given", "mend"),
    [
        (old_stack, PRUNING, "old API stack", "Remove api_stack"),
        (two_policies, PRUNING, "multi-agent", "each policy by itself"),
        (parallel_evaluation, PRUNING, "evaluation_parallel_to_training=True", "Set it to False"),
        (unchanged, PLATEAU, "no evaluation", "evaluation_interval=1"),
        (sampling_elsewhere, PLATEAU, "create_local_env_runner=False", "Set it to True"),
        (sampling_elsewhere, REWINDING, "create_local_env_runner=False", "Set it to True"),
        (exploring_evaluation, PLATEAU, "explore=True", "{'explore': False}"),
        (whole_evaluation_config, PLATEAU, "explore=True", "{'explore': False}"),
        (shared_encoder, CRITIC, "share their encoder", "vf_share_layers=False"),
        (shared_by_dataclass, CRITIC, "share their encoder", "vf_share_layers=False"),
        (shared_by_spec, CRITIC, "share their encoder", "vf_share_layers=False"),
        (unchanged, PRUNING.replace(horizon=None), "horizon is missing", "horizon=100_000"),
    ],
)
def test_what_cannot_be_pruned_is_refused_with_the_mend(small_ppo, change, pruning, given, mend):
    with pytest.raises(ConfigError) as caught:
        with_pruning(change(small_ppo()), pruning)
    assert isinstance(caught.value, PrunefrontError)
    assert given in str(caught.value)
    assert mend in str(caught.value)


def renamed_policy(ppo):
    return ppo.multi_agent(policies={"main"}, policy_mapping_fn=lambda *args, **kw: "main")


def test_a_single_policy_of_another_name_is_told_what_is_the_matter(small_ppo):
    with pytest.raises(ConfigError, match=r"named 'main'.* expected 'default_policy'") as caught:
        with_pruning(renamed_policy(small_ppo()), PRUNING)
    assert "Leave multi_agent(policies=...) out" in str(caught.value)
    assert "each policy by itself" not in str(caught.value)


@pytest.mark.parametrize("given", [{}, {"final_sparsity": 0.5}, None, 0.9, PruningConfig])
def test_other_than_a_pruning_config_is_refused(small_ppo, given):
    with pytest.raises(ConfigError, match="to prune by; expected a PruningConfig"):
        with_pruning(small_ppo(), given)


@pytest.mark.parametrize("given", [{}, PPOConfig, "PPO", None])
def test_other_than_a_ppo_config_is_refused(given):
    with pytest.raises(ConfigError, match="expected a PPOConfig, such as"):
        with_pruning(given, PRUNING)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda ppo: ppo.learners(learner_class="mine.Learner"), "learner_class = 'mine.Learner'"),
        (lambda ppo: ppo.learners(learner_class=3), "learner_class = 3 is a int"),
        (
            lambda ppo: ppo.env_runners(env_to_module_connector="MeanStdFilter"),
            "env_to_module_connector = 'MeanStdFilter' is text",
        ),
        (
            lambda ppo: ppo.rl_module(rl_module_spec=RLModuleSpec(module_class="mine.Module")),
            "module_class = 'mine.Module' is text",
        ),
    ],
)
def test_text_where_a_class_belongs_is_refused(small_ppo, change, named):
    with pytest.raises(ConfigError, match=f"{named}.* expected"):
        with_pruning(change(small_ppo()), PRUNING)


@pytest.mark.ray
@pytest.mark.parametrize(
    ("change", "lost", "kept"),
    [
        (lambda ppo: ppo.callbacks(Tagging), "callbacks", "learners"),
        (lambda ppo: ppo.callbacks([Tagging, Second]), "callbacks", "learners"),
        (lambda ppo: ppo.callbacks(Tagging, on_algorithm_init=print), "callbacks", "learners"),
        (
            lambda ppo: ppo.learners(learner_class=UsersLearner),
            r"learners\(learner_class=UsersLearner\)",
            "callbacks",
        ),
        (lambda ppo: ppo.learners(learner_class=None), "learner_class=PPOTorchLearner", "callbacks"),
        (lambda ppo: ppo.callbacks(Tagging).learners(learner_class=UsersLearner),
         "learner_class=UsersLearner.*, and callbacks", "algorithm"),
    ],
)  # fmt: skip
def test_what_replaces_pruning_after_it_was_added_is_refused_at_build(
    small_ppo, change, lost, kept
):
    config = change(with_pruning(small_ppo(), PRUNING))
    with pytest.raises(ConfigError, match=rf"{lost}.* came after with_pruning") as caught:
        config.build_algo()
    assert f"{kept}(" not in str(caught.value)
    assert "Call with_pruning last" in str(caught.value)


@pytest.mark.ray
def test_what_is_added_after_pruning_and_replaces_nothing_goes_on(small_ppo):
    config = with_pruning(small_ppo(), PRUNING)
    config.callbacks([*config.callbacks_class, Tagging], on_train_result=tag_by_function)
    config.learners(learner_config_dict={"mine": 3}).training(lr=1e-4)
    algorithm = config.build_algo()
    result = algorithm.train()
    algorithm.stop()
    assert result["tags"] == [("plain", HALF)]
    assert result["function_saw"] == HALF


@pytest.mark.ray
def test_a_function_that_the_user_has_for_the_beginning_still_runs(small_ppo):
    seen = []
    ppo = small_ppo().callbacks(on_algorithm_init=lambda algorithm, **kw: seen.append(algorithm))
    algorithm = with_pruning(with_pruning(ppo, PRUNING), PRUNING).build_algo()
    algorithm.stop()
    assert seen == [algorithm]


def test_another_algorithm_is_refused():
    with pytest.raises(ConfigError, match=r"SACConfig.*expected a PPOConfig"):
        with_pruning(SACConfig().environment("Pendulum-v1"), PRUNING)


@pytest.mark.parametrize(
    ("change", "pruning", "outside"),
    [
        (unchanged, PLATEAU, True),
        (lambda ppo: ppo.evaluation(evaluation_interval=1), PLATEAU, False),
        (shared_encoder, PRUNING, False),
        (unchanged, CRITIC, False),
        (lambda ppo: ppo.evaluation(evaluation_parallel_to_training=True), PRUNING, False),
    ],
)
def test_what_only_resembles_a_contradiction_is_accepted(small_ppo, change, pruning, outside):
    config = with_pruning(change(small_ppo()), pruning, evaluated_outside=outside)
    assert PruningCallback in config.callbacks_class


@pytest.mark.ray
def test_plateau_judges_by_evaluations_that_do_not_draw_actions(small_ppo):
    ppo = small_ppo().evaluation(
        evaluation_interval=1, evaluation_duration=2, evaluation_config={"gamma": 0.5}
    )
    algorithm = with_pruning(ppo, PLATEAU).build_algo()
    evaluating = algorithm.eval_env_runner_group.local_env_runner.config
    explored = algorithm.config.explore
    algorithm.stop()
    assert (evaluating.explore, evaluating.gamma, explored) == (False, 0.5, True)
    assert with_pruning(ppo, PRUNING).evaluation_config == {"gamma": 0.5}


@pytest.mark.ray
@pytest.mark.parametrize(
    ("change", "pruning", "message"),
    [
        (unchanged, PRUNING.replace(exclude=("*",)), "no prunable weights.*Exclude fewer"),
        (
            unchanged,
            CRITIC.replace(exclude=("vf.*", "*critic_encoder*")),
            "critic alone.*Set critic_final_sparsity=0",
        ),
    ],
)
def test_a_target_that_no_weights_can_meet_is_refused(small_ppo, change, pruning, message):
    config = with_pruning(change(small_ppo()), pruning)
    with pytest.raises(ConfigError, match=message):
        config.build_algo()


@pytest.mark.ray
def test_excluded_layers_stay_dense(small_ppo):
    config = with_pruning(small_ppo(), PRUNING.replace(exclude=("pi.*",)))
    algorithm = config.build_algo()
    report = algorithm.train()["pruning"]
    algorithm.stop()
    assert report["zeros"] == round(0.5 * (4 * 16 + 16 * 16))
    assert not any(name.startswith("pi.") for name in report["layers"])
