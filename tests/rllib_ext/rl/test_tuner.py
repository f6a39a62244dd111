"""Ray Tune's own searchers and schedulers around `with_pruning`."""

import pytest
from ray import tune
from ray.rllib.algorithms.ppo import PPO

from rllib_ext import PruningConfig, with_pruning
from rllib_ext.pruning.errors import ConfigError

HORIZON = 256


def space(small_ppo, **pruning):
    values = {"schedule": "one_shot", "begin": 0.0, "horizon": HORIZON, **pruning}
    return with_pruning(small_ppo(), PruningConfig(**values))


def tuned(param_space, folder, **tune_config):
    tuner = tune.Tuner(
        PPO,
        param_space=param_space,
        tune_config=tune.TuneConfig(max_concurrent_trials=1, **tune_config),
        run_config=tune.RunConfig(
            storage_path=str(folder), stop={"training_iteration": 1}, verbose=0
        ),
    )
    results = tuner.fit()
    assert not results.errors
    return results


def drawn(result):
    return result.config["learner_config_dict"]["pruning"]


@pytest.mark.ray
def test_tune_draws_what_each_trial_prunes_to(small_ppo, tmp_path):
    config = space(
        small_ppo,
        final_sparsity=tune.uniform(0.3, 0.95),
        criterion={"grid_search": ["magnitude", "random"]},
    ).training(lr=tune.loguniform(1e-4, 1e-2))
    results = tuned(config, tmp_path, num_samples=1)
    assert {drawn(result)["criterion"] for result in results} == {"magnitude", "random"}
    sparsities = set()
    for result in results:
        wanted = drawn(result)["final_sparsity"]
        assert 0.3 <= wanted < 0.95
        assert result.metrics["pruning"]["sparsity"] == pytest.approx(wanted, abs=0.002)
        assert 1e-4 <= result.config["lr"] < 1e-2
        sparsities.add(wanted)
    assert len(sparsities) == 2


@pytest.mark.ray
def test_optuna_through_tune_searches_what_is_pruned(small_ppo, tmp_path):
    from ray.tune.search.optuna import OptunaSearch

    config = space(small_ppo, final_sparsity=tune.uniform(0.3, 0.95))
    results = tuned(
        config,
        tmp_path,
        num_samples=2,
        search_alg=OptunaSearch(metric="pruning/sparsity", mode="max", seed=0),
    )
    for result in results:
        wanted = drawn(result)["final_sparsity"]
        assert result.metrics["pruning"]["sparsity"] == pytest.approx(wanted, abs=0.002)


@pytest.mark.ray
def test_a_configuration_whose_values_are_yet_to_be_drawn_builds_no_algorithm(small_ppo):
    with pytest.raises(ConfigError, match=r"yet to be drawn.*param_space"):
        space(small_ppo, final_sparsity=tune.uniform(0.3, 0.95)).build_algo()


def test_a_contradiction_at_an_end_of_what_is_drawn_is_refused_at_once(small_ppo):
    with pytest.raises(ConfigError, match="no evaluation"):
        space(small_ppo, schedule=tune.choice(["cubic", "plateau"]))
    shared = small_ppo().rl_module(model_config={"vf_share_layers": True})
    pruning = PruningConfig(critic_final_sparsity=tune.uniform(0.0, 0.5), horizon=HORIZON)
    with pytest.raises(ConfigError, match="share their encoder"):
        with_pruning(shared, pruning)
