"""A PPOConfig that Python hands over: what of it is kept, and what is refused."""

import json
import subprocess
import sys
import threading

import gymnasium
import pytest
import ray
import yaml
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.tune.registry import register_env

import search
from rllib_ext.envs.env_maker import env_maker, env_name
from rllib_ext.pruning.errors import ConfigError, ResultsError
from search.config.loading import parse_config
from search.runs.from_python import _values, experiment_of
from search.runs.inputs import open_policy, open_results
from search.store.continued import load_config_of
from search.store.folder import PPO_CONFIG
from search.training.given_ppo import for_keeping, keep_ppo, kept_ppo, made_ready, ppo_of
from search.training.ppo_config import build_ppo

SETTINGS = {
    "search": {
        "strategy": "random",
        "space": {"pruning.final_sparsity": {"type": "float", "low": 0.5, "high": 0.9}},
    },
    "population": {"members": 2, "segments": 1},
    "budget": {"env_steps": 1000},
}

PLAIN = PPOConfig().environment("CartPole-v1")


class Short(CartPoleEnv):
    def __init__(self, limit=9):
        super().__init__()
        self.limit = limit


def handed_over(ppo, folder=None, **settings):
    values = {**SETTINGS, **settings}
    kept = for_keeping(ppo)
    config = experiment_of(kept, values)
    ready = made_ready(kept, config, values.get("resources") or {})
    if folder is not None:
        (folder / "config.yaml").write_text(config.to_yaml())
        keep_ppo(ready, folder)
    return config, ready


def test_what_was_handed_over_is_what_a_resumed_search_reads(tmp_path):
    ppo = (
        PPOConfig()
        .environment(Short, env_config={"limit": 4})
        .env_runners(env_to_module_connector=lambda env, spaces, device: FlattenObservations())
        .rl_module(model_config={"fcnet_hiddens": [4]})
        .training(lr=0.0123, gamma=0.97)
    )
    config, _ = handed_over(ppo, tmp_path, name="mine")
    assert (config.env, config.env_config) == (f"{__name__}:Short", {"limit": 4})
    read = load_config_of(tmp_path)
    assert read == config
    kept = ppo_of(read, tmp_path)
    assert (kept.lr, kept.gamma, kept.model_config["fcnet_hiddens"]) == (0.0123, 0.97, [4])
    assert (
        kept._env_to_module_connector(None, None, None).__class__.__name__ == "FlattenObservations"
    )
    made = env_maker(kept)()
    assert type(made) is Short
    assert made.limit == 4
    assert env_name(kept) == config.env
    # The caller's is as it was.
    assert ppo.env is Short


def test_evaluation_and_policies_find_the_environment_that_was_kept(tmp_path):
    handed_over(PPOConfig().environment(Short, env_config={"limit": 4}), tmp_path)
    said = []
    policy = tmp_path / "policies" / "m00"
    policy.mkdir(parents=True)
    for found in (
        open_results(tmp_path, None, said.append),
        open_policy(policy, None, said.append),
    ):
        assert env_maker(found)().limit == 4
    handed_over(PLAIN, tmp_path)
    other = open_results(tmp_path, "Pendulum-v1", said.append)
    assert other.env == "Pendulum-v1"


@pytest.mark.ray
def test_classes_of_a_script_are_read_where_the_script_is_not(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"""
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from ray.rllib.algorithms.ppo import PPOConfig
from search.runs.from_python import experiment_of
from search.training.given_ppo import for_keeping, keep_ppo, made_ready
from pathlib import Path

class OfAScript(CartPoleEnv):
    def __init__(self, limit=9):
        super().__init__()
        self.limit = limit

ppo = PPOConfig().environment(OfAScript, env_config={{"limit": 5}})
ppo = for_keeping(ppo)
config = experiment_of(ppo, {SETTINGS!r})
folder = Path({str(tmp_path)!r})
(folder / "config.yaml").write_text(config.to_yaml())
keep_ppo(made_ready(ppo, config, {{}}), folder)
print(config.env, config.name)
""")
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["__main__:OfAScript", "ofascript"]
    assert env_maker(kept_ppo(tmp_path))().limit == 5


def test_environments_that_only_this_process_knows_travel(tmp_path):
    register_env("only-here", lambda config: Short(**config))
    gymnasium.register("OnlyHere-v0", entry_point=Short, max_episode_steps=6)
    try:
        registered = PPOConfig().environment("only-here", env_config={"limit": 3})
        config, _ = handed_over(registered, tmp_path)
        assert config.env == "only-here"
        assert env_maker(kept_ppo(tmp_path))().limit == 3
        by_id = PPOConfig().environment("OnlyHere-v0", env_config={"limit": 2})
        config, _ = handed_over(by_id, tmp_path)
    finally:
        gymnasium.registry.pop("OnlyHere-v0")
    assert config.env == "OnlyHere-v0"
    made = env_maker(kept_ppo(tmp_path))()
    assert (made.unwrapped.limit, made.spec.max_episode_steps) == (2, 6)
    config, ready = handed_over(PPOConfig().environment("CartPole-v1"))
    assert ready.env == "CartPole-v1"


def test_resources_are_the_configurations_own_unless_they_are_given():
    ppo = PPOConfig().environment("CartPole-v1").resources(num_cpus_for_main_process=3)
    assert handed_over(ppo)[1].num_cpus_for_main_process == 3
    ready = handed_over(ppo, resources={"cpus_per_member": 2, "gpus_per_member": 0.5})[1]
    assert (ready.num_cpus_for_main_process, ready.num_gpus_per_learner) == (2.0, 0.5)


def test_what_cannot_be_kept_is_refused_with_the_place_and_the_mend():
    ppo = PPOConfig().environment(Short).training(lr=0.1)
    ppo.learners(learner_config_dict={"fine": 1, "guard": threading.Lock()})
    with pytest.raises(
        ConfigError, match=r"can't be kept.*lock.*learner_config_dict\['guard'\].*open files, locks"
    ):
        search.run(ppo, SETTINGS, quiet=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"env": "CartPole-v1"}, "'env' is what the PPOConfig says"),
        ({"ppo": {}}, "'ppo' is what the PPOConfig says"),
        ({"budgett": {}}, "settings:.*(\n|.)*unknown key 'budgett'. Did you mean 'budget'"),
    ],
)
def test_settings_that_say_what_the_configuration_says_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        search.run(PLAIN, {**SETTINGS, **settings})


@pytest.fixture
def no_ray(monkeypatch):
    """Neither the cluster that tests share is seen, nor may one be started."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", None)


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize(
    ("ppo", "said"),
    [
        ({}, "given a dict; expected a PPOConfig"),
        (PPOConfig(), "no environment"),
        (PPOConfig().environment(Short, env_config={"limt": 3}), "has no argument 'limt'"),
        (PPOConfig().environment("FrozenLake-v1"), r"Discrete\(16\)"),
    ],
)
def test_a_configuration_that_cannot_be_searched_is_refused_before_anything_runs(
    ppo, said, tmp_path
):
    with pytest.raises(ConfigError, match=said):
        search.run(ppo, SETTINGS, output=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_settings_can_be_a_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(SETTINGS))
    assert _values(path) == SETTINGS
    with pytest.raises(ConfigError, match="is no file"):
        search.run(PLAIN, tmp_path / "other.yaml")


def test_a_kept_configuration_that_was_changed_or_lost_is_not_read(tmp_path):
    config, _ = handed_over(PLAIN, tmp_path)
    path = tmp_path / PPO_CONFIG
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + b"!")
    with pytest.raises(ResultsError, match="digest differs"):
        ppo_of(config, tmp_path)
    path.unlink()
    with pytest.raises(ResultsError, match=f"{PPO_CONFIG}.*missing"):
        ppo_of(config, tmp_path)
    assert "ppo_config_sha256" in json.loads((tmp_path / "manifest.json").read_text())


def test_a_folders_configuration_is_not_searched_as_if_it_were_all():
    config = handed_over(PLAIN)[0]
    again = parse_config(yaml.safe_load(config.to_yaml()), "config.yaml")
    with pytest.raises(ConfigError, match=r"from_python.*prunefront resume.*search\.run"):
        build_ppo(again)
