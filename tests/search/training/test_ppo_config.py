"""From an experiment to RLlib's configuration, and what RLlib or Gymnasium refuse."""

import sys
from pathlib import Path

import gymnasium
import pytest
from gymnasium.envs import registration
from pretended_search import coordinated

from rllib_ext.envs.env_maker import env_name
from rllib_ext.pruning.errors import ConfigError
from search.config.loading import load_config
from search.runs.check import describe_plan
from search.runs.preparation import prepare
from search.training.ppo_config import build_ppo, member_resources

CONFIGS = Path(__file__).parents[3] / "configs"
OWN_ENV = """
import gymnasium
import numpy as np

class Corridor(gymnasium.Env):
    def __init__(self, config):
        self.length = config["length"]
        self.observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.at = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.at += 1
        return np.zeros(2, np.float32), 1.0, self.at >= self.length, False, {}
"""


def searching(name, **parameter):
    return {"space": {f"pruning.{name}": parameter}}


def built(**changes):
    return build_ppo(coordinated(**changes))


def test_what_is_below_ppo_reaches_rllibs_methods_of_the_same_names():
    ppo = built(
        ppo={
            "training": {"lr": 7e-4, "lambda_": 0.9, "minibatch_size": 64, "num_epochs": 3},
            "env_runners": {"num_envs_per_env_runner": 5, "rollout_fragment_length": 40},
            "rl_module": {"model_config": {"fcnet_hiddens": [8, 4], "vf_share_layers": False}},
            "learners": {"num_learners": 0},
            "environment": {"clip_actions": True},
        }
    )
    assert (ppo.lr, ppo.lambda_, ppo.minibatch_size, ppo.num_epochs) == (7e-4, 0.9, 64, 3)
    assert (ppo.num_envs_per_env_runner, ppo.rollout_fragment_length) == (5, 40)
    assert ppo.model_config["fcnet_hiddens"] == [8, 4]
    assert ppo.clip_actions is True
    assert ppo.num_env_runners == 0


def test_a_members_cpus_are_what_was_asked_for():
    needed = member_resources(built(resources={"cpus_per_member": 2}))
    assert needed.required_resources == {"CPU": 2.0}
    assert member_resources(built()).required_resources == {"CPU": 1.0}
    learners = {"resources": {"gpus_per_member": 1.0}, "ppo": {"learners": {"num_learners": 2}}}
    assert member_resources(built(**learners)).required_resources == {"CPU": 3.0, "GPU": 1.0}
    shared = built(resources={"gpus_per_member": 0.25})
    assert member_resources(shared).required_resources == {"CPU": 1.0, "GPU": 0.25}
    with_runners = built(ppo={"env_runners": {"num_env_runners": 2}})
    assert member_resources(with_runners).required_resources == {"CPU": 3.0}


# In RLlib's own process only: an LSTM.
PLAIN = {"stateless_cartpole"}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_that_is_shipped_builds_and_can_be_pruned(path):
    config = load_config(path)
    prepared = prepare(config)
    ppo = prepared.ppo
    assert env_name(ppo) == config.env
    for name, value in config.ppo.methods(config.horizon)["training"].items():
        assert getattr(ppo, name) == value
    assert {"fcnet_hiddens", "conv_filters"} & ppo.model_config.keys()
    assert prepared.engine.unpackable == ""
    assert (config.engine == "rllib") == (path.stem in PLAIN | {"article", "smoke"})
    # Whoever reads it knows what it is held against.
    assert path.stem == "smoke" or "Held against" in path.read_text()


def test_the_articles_network_is_the_articles(tmp_path):
    ppo = build_ppo(load_config(CONFIGS / "article.yaml"))
    module = ppo.get_rl_module_spec(env=gymnasium.make("CartPole-v1")).build()
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
    actor = [s for n, s in shapes.items() if len(s) == 2 and "critic" not in n and "vf" not in n]
    assert actor == [(128, 4), (64, 128), (2, 64)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": "CartPol-v1"}, "env = 'CartPol-v1': .*CartPole.*package.module:Class"),
        ({"env": "CartPole-v99"}, "env = 'CartPole-v99'"),
        ({"env": "no_such_package.envs:Corridor"}, "cannot be imported.*working directory"),
        ({"env": "gymnasium:NoSuchEnv"}, "cannot be imported.*NoSuchEnv"),
        ({"env_config": {"gravty": 9.0}}, "env_config: CartPole-v1 has no argument 'gravty'"),
        ({"ppo": {"training": {"lerning_rate": 1e-3}}}, "ppo.training.*'lerning_rate'"),
        ({"ppo": {"training": {"minibatch_sze": 8}}}, "Did you mean 'minibatch_size'"),
        ({"ppo": {"env_runners": {"num_env_runer": 1}}}, "Did you mean 'num_env_runners'"),
        ({"ppo": {"training": {"learning_rate": 1e-3}}}, "Did you mean 'lr'"),
        ({"ppo": {"training": {"batch_size": 64}}}, "Did you mean 'minibatch_size'"),
        ({"ppo": {"training": {"gamma": 1.5}}}, "ppo.training.gamma = 1.5; expected .*from 0 to 1"),
        ({"ppo": {"training": {"num_epochs": 2.5}}}, "num_epochs = 2.5; expected an integer"),
        ({"ppo": {"training": {"model": {"fcnet_hiddens": [8]}}}}, "ignores it.*rl_module"),
        ({"ppo": {"training": {"vf_share_layers": True}}}, "ignores it.*rl_module"),
        (
            {"ppo": {"env_runners": {"observation_filter": "MeanStdFilter"}}},
            "observation_filter = 'MeanStdFilter'.*ignores it, whoever trains.*MeanStdFilter",
        ),
        (
            {"ppo": {"environment": {"clip_rewards": True}}},
            "clip_rewards = True.*preprocess.clip_reward",
        ),
        (
            {"ppo": {"rl_module": {"model_config": {"fcnet_hidden": [16]}}}},
            "'fcnet_hidden' is no key.*Did you mean 'fcnet_hiddens'",
        ),
        ({"env": "ray.rllib.Corridor"}, "Did you mean 'ray.rllib:Corridor'"),
        (
            {"ppo": {"training": {"train_batch_size_per_learner": 64, "minibatch_size": 128}}},
            "minibatch_size",
        ),
        (
            {
                "pruning": {"critic_final_sparsity": 0.5},
                "ppo": {"rl_module": {"model_config": {"vf_share_layers": True}}},
            },
            "critic_final_sparsity = 0.5.*vf_share_layers=False",
        ),
    ],
)
def test_what_rllib_or_gymnasium_refuse_is_a_mistake_of_the_configuration(changes, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        built(**changes)


@pytest.mark.parametrize(
    ("path", "parameter", "message"),
    [
        ("training.lerning_rate", {"type": "float", "low": 0.1, "high": 0.2}, "lerning_rate"),
        ("training.num_epoch", {"type": "int", "low": 1, "high": 4}, "mean 'num_epochs'"),
        ("training.minibatch_size", {"type": "int", "low": 8, "high": 8_000}, "= 8000"),
    ],
)
def test_what_rllib_refuses_of_the_searched_is_found_before_anything_trains(
    path, parameter, message
):
    with pytest.raises(ConfigError, match=f"(?s)search.space: RLlib refuses {path}.*{message}"):
        built(search={"space": {path: parameter}})


@pytest.mark.parametrize(
    ("path", "parameter", "message"),
    [
        ("training.gamma", {"type": "float", "low": 0.9, "high": 1.5}, "gamma = 1.5.*from 0 to 1"),
        ("training.num_epochs", {"type": "float", "low": 2.5, "high": 8.0}, "num_epochs = 2.5"),
        ("training.clip_param", {"type": "float", "low": -0.1, "high": 0.3}, "clip_param = -0.1"),
        (
            "training.use_gae",
            {"type": "choice", "choices": [True, False]},
            "use_gae = False.*ignores",
        ),
    ],
)
def test_what_means_nothing_at_an_end_of_a_range_is_found_before_anything_trains(
    path, parameter, message
):
    with pytest.raises(ConfigError, match=message):
        built(search={"space": {path: parameter}})


@pytest.mark.parametrize(
    ("method", "argument", "expected"),
    [
        ("env_runners", "env_runner_cls", "an EnvRunner class"),
        ("env_runners", "env_to_module_connector", "a function .* returns connectors"),
        ("env_runners", "module_to_env_connector", "a function .* returns connectors"),
        ("learners", "learner_class", "a Learner class"),
        ("learners", "learner_connector", "a function .* returns connectors"),
        ("rl_module", "rl_module_spec", "an RLModuleSpec"),
    ],
)
def test_text_where_a_class_belongs_is_named_with_what_belongs_there(method, argument, expected):
    with pytest.raises(
        ConfigError, match=rf"ppo.{method}.{argument} = 'Mine'.* expected {expected}"
    ):
        built(ppo={method: {argument: "Mine"}})


SHARED = {"rl_module": {"model_config": {"vf_share_layers": True}}}


@pytest.mark.parametrize("look", [describe_plan, prepare])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pruning": {"exclude": ["*"]}}, "no prunable weights"),
        ({"pruning": {"exclude": ["polcy.*"]}}, r"'polcy\.\*' matches no parameter"),
        ({"pruning": {"granularity": "branch"}}, "dict observation"),
        (
            {"search": searching("critic_final_sparsity", type="float", low=0.0, high=0.5)},
            "critic_final_sparsity = 0.5.*share their encoder",
        ),
        (
            {"search": searching("granularity", type="choice", choices=["weight", "layer"])},
            "path around",
        ),
    ],
)
@pytest.mark.parametrize("engine", ["rllib", "packed"])
def test_what_no_member_can_prune_is_found_before_anything_trains(engine, changes, message, look):
    experiment = {"search": searching("final_sparsity", type="float", low=0.1, high=0.9)} | changes
    with pytest.raises(ConfigError, match=message):
        look(coordinated(engine=engine, ppo=SHARED, **experiment))


def test_an_environment_that_cannot_be_built_says_why(own_env):
    message = r"corridors:Corridor' cannot be built with env_config = {}: KeyError: 'length'"
    with pytest.raises(ConfigError, match=message):
        built(env=own_env)


@pytest.fixture
def own_env(tmp_path, monkeypatch):
    (tmp_path / "corridors.py").write_text(OWN_ENV)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "corridors:Corridor"
    sys.modules.pop("corridors", None)


def test_an_environment_class_of_the_working_directory_is_used(own_env):
    ppo = built(env=own_env, env_config={"length": 7})
    assert ppo.env.__name__ == "Corridor"
    assert ppo.env_config == {"length": 7}


def test_the_plan_of_an_own_environment_is_described(own_env):
    plan = describe_plan(coordinated(env=own_env, env_config={"length": 7}))
    assert "corridors:Corridor" in plan
    assert "at a time, roughly" in plan


def test_an_id_with_a_module_is_left_to_gymnasium():
    assert built(env="gymnasium.envs.classic_control:CartPole-v1").env == (
        "gymnasium.envs.classic_control:CartPole-v1"
    )


def test_an_id_of_a_module_of_the_working_directory_can_be_shifted(own_env, tmp_path, monkeypatch):
    monkeypatch.setattr(registration, "registry", dict(registration.registry))
    module, _ = own_env.split(":")
    registered = "lambda length: Corridor({'length': length})"
    with (tmp_path / f"{module}.py").open("a") as file:
        file.write(f'\ngymnasium.register("Mine-v0", {registered})\n')
    settings = {"shifts": [{"noise": 0.1}, {"set": {"length": 9}}]}
    plan = describe_plan(
        coordinated(env=f"{module}:Mine-v0", env_config={"length": 7}, evaluation=settings)
    )
    assert f"{module}:Mine-v0" in plan


def test_a_shift_that_the_environment_does_not_know_is_refused_before_the_search():
    settings = {"shifts": [{"noise": 0.1}, {"set": {"gravitas": 1}}]}
    with pytest.raises(
        ConfigError, match=r"evaluation.shifts: 'gravitas' .* Did you mean 'gravity'"
    ):
        built(evaluation=settings)
