"""What a configuration names as "package.module:Name" reaches RLlib as what it is."""

import pytest
import yaml
from pretended_search import coordinated
from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
from ray.rllib.connectors.common.flatten_observations import FlattenObservations
from ray.rllib.connectors.common.frame_stacking import FrameStacking

from rllib_ext.packed.blueprint import blueprint_of
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.prunable import fresh_network
from search.config.loading import parse_config
from search.training.ppo_config import build_ppo

OWN = """
import gymnasium
import numpy as np
import torch
from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.env_to_module import FlattenObservations, MeanStdFilter
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule

class Net(DefaultPPOTorchRLModule):
    pass

class Bare(TorchRLModule, ValueFunctionAPI):
    def setup(self):
        self.head, self.value = torch.nn.Linear(4, 6), torch.nn.Linear(4, 1)

    def compute_values(self, batch, embeddings=None):
        return self.value(batch["obs"]).squeeze(-1)

class TwoActions(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
    action_space = gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(3)] * 2)

class MyCatalog(PPOCatalog):
    pass

class Learner(PPOTorchLearner):
    pass

class Notes(RLlibCallback):
    pass

def flat(env, spaces, device):
    return FlattenObservations()

def on_result(algorithm, metrics_logger, result):
    result["noted"] = True

SPEC = RLModuleSpec(module_class=Net, model_config={"fcnet_hiddens": [3]})
BOX = gymnasium.spaces.Box(-5.0, 5.0, (4,), np.float32)
NUMBER = 7

class Boxes:
    class Inner(DefaultPPOTorchRLModule):
        pass
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import mine_own

    return mine_own


def built(**ppo):
    return build_ppo(coordinated(ppo=ppo))


def test_every_place_where_rllib_takes_code_takes_its_name(mine):
    ppo = built(
        learners={"learner_class": "mine_own:Learner", "learner_connector": "mine_own:flat"},
        callbacks={
            "callbacks_class": ["mine_own:Notes"],
            "on_train_result": ["mine_own:on_result"],
            "on_algorithm_init": "mine_own:on_result",
        },
        env_runners={
            "env_to_module_connector": "mine_own:flat",
            "module_to_env_connector": "mine_own:flat",
            "env_runner_cls": "ray.rllib.env.single_agent_env_runner:SingleAgentEnvRunner",
        },
        rl_module={"rl_module_spec": "mine_own:Net"},
        environment={"observation_space": "mine_own:BOX"},
    )
    assert ppo.learner_class is mine.Learner
    assert ppo._learner_connector is mine.flat
    assert ppo.callbacks_class == [mine.Notes]
    assert ppo.callbacks_on_train_result == [mine.on_result]
    assert ppo.callbacks_on_algorithm_init is mine.on_result
    assert ppo._env_to_module_connector is mine.flat
    assert ppo._module_to_env_connector is mine.flat
    assert ppo.env_runner_cls.__name__ == "SingleAgentEnvRunner"
    assert ppo.observation_space == mine.BOX
    module, pipeline = fresh_network(ppo)
    assert type(module) is mine.Net
    assert isinstance(pipeline.connectors[0], FlattenObservations)


@pytest.mark.parametrize(
    ("given", "module", "catalog", "hiddens"),
    [
        ("mine_own:Net", "Net", "PPOCatalog", [5]),
        ("mine_own:MyCatalog", "DefaultPPOTorchRLModule", "MyCatalog", [5]),
        ("mine_own:SPEC", "Net", "PPOCatalog", [3]),
        ("mine_own:Boxes.Inner", "Inner", "PPOCatalog", [5]),
        (
            {
                "module_class": "mine_own:Net",
                "catalog_class": "mine_own:MyCatalog",
                "model_config": {"fcnet_hiddens": [2]},
            },
            "Net",
            "MyCatalog",
            [2],
        ),
    ],
)
def test_a_module_is_named_by_class_catalog_spec_or_parts(mine, given, module, catalog, hiddens):
    ppo = built(rl_module={"rl_module_spec": given, "model_config": {"fcnet_hiddens": [5]}})
    made, _ = fresh_network(ppo)
    assert type(made).__name__ == module
    assert type(made.catalog).__name__ == catalog
    assert issubclass(type(made.catalog), PPOCatalog)
    assert made.model_config["fcnet_hiddens"] == hiddens


def test_connectors_are_named_by_class_with_arguments_and_in_lists(mine):
    stacking = "ray.rllib.connectors.env_to_module.frame_stacking:FrameStackingEnvToModule"
    ppo = built(
        env_runners={
            "env_to_module_connector": [
                "mine_own:flat",
                {"class": "mine_own:FlattenObservations", "multi_agent": False},
                {"class": stacking, "num_frames": 3},
            ]
        }
    )
    first, second, third = ppo._env_to_module_connector(None, {}, None)
    assert type(first) is type(second) is FlattenObservations
    assert isinstance(third, FrameStacking)
    assert third.num_frames == 3
    # As each EnvRunner calls it: a connector has a state of its own.
    assert ppo._env_to_module_connector(None, {}, None)[0] is not first


def test_a_filter_that_is_named_can_be_packed(mine):
    ppo = built(
        env_runners={"env_to_module_connector": "mine_own:MeanStdFilter"},
        training={"minibatch_size": 32},
        rl_module={"model_config": {"fcnet_hiddens": [4]}},
    )
    assert blueprint_of(ppo).filter is not None


def test_one_hot_connectors_make_a_discrete_observation_trainable(mine):
    config = coordinated(
        env="FrozenLake-v1",
        env_config={"is_slippery": False},
        ppo={"env_runners": {"env_to_module_connector": "mine_own:FlattenObservations"}},
    )
    module, _ = fresh_network(build_ppo(config))
    assert module.observation_space.shape == (16,)
    plain = coordinated(env="FrozenLake-v1")
    with pytest.raises(ConfigError, match=r"Discrete\(16\).*connectors.env_to_module:FlattenObs"):
        fresh_network(build_ppo(plain))


def test_a_network_without_a_distribution_for_its_actions_is_refused_before_anything_trains(mine):
    ppo = built(rl_module={"rl_module_spec": "mine_own:Bare"})
    with pytest.raises(
        ConfigError, match=r"ppo.rl_module.*Default action distribution.*action_dist"
    ):
        fresh_network(ppo.environment(mine.TwoActions))


@pytest.mark.parametrize(
    ("ppo", "said"),
    [
        (
            {"learners": {"learner_class": "mine_own:Net"}},
            r"ppo.learners.learner_class = 'mine_own:Net' is the class Net; expected a Learner class",
        ),
        ({"learners": {"learner_class": "Learner"}}, r"= 'Learner'; expected a Learner class, named as"),
        ({"callbacks": {"callbacks_class": "mine_own:NUMBER"}}, "expected an RLlibCallback class"),
        ({"callbacks": {"on_train_result": "mine_own:NUMBER"}}, "is a int; expected a function"),
        ({"callbacks": {"on_train": "mine_own:flat"}}, "RLlib refuses it.*on_train"),
        (
            {"env_runners": {"env_to_module_connector": "nowhere_at_all:Flat"}},
            r"env_to_module_connector = 'nowhere_at_all:Flat': cannot be imported \(ModuleNotFound",
        ),
        (
            {"env_runners": {"env_to_module_connector": {"class": "mine_own:flat", "n": 1}}},
            "is a function.* expected no n beside it",
        ),
        (
            {"env_runners": {"env_to_module_connector": "mine_own:Net"}},
            "is the class Net; expected a ConnectorV2 class",
        ),
        (
            {"env_runners": {"env_to_module_connector": {"class": "mine_own:FlattenObservations",
                                                         "frames": 1}}},
            "'mine_own:FlattenObservations' has no argument 'frames'. Known: .*multi_agent",
        ),
        ({"rl_module": {"rl_module_spec": "mine_own:NUMBER"}}, "a int; expected an RLModuleSpec, or"),
        (
            {"rl_module": {"rl_module_spec": {"modul_class": "mine_own:Net"}}},
            "rl_module_spec: unknown key 'modul_class'; expected module_class",
        ),
        ({"environment": {"observation_space": "mine_own:NUMBER"}}, "expected a gymnasium space"),
    ],
)  # fmt: skip
def test_what_is_not_what_rllib_takes_there_is_refused_with_the_mend(mine, ppo, said):
    with pytest.raises(ConfigError, match=f"(?s){said}"):
        built(**ppo)


def test_names_are_what_a_results_folder_keeps(mine):
    config = coordinated(ppo={"learners": {"learner_class": "mine_own:Learner"}})
    assert "learner_class: mine_own:Learner" in config.to_yaml()
    again = parse_config(yaml.safe_load(config.to_yaml()), "config.yaml")
    assert build_ppo(again).learner_class is mine.Learner
