"""Whether weights mean the same in another network: RLlib's examples and users' own."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from rllib_modules import EXAMPLES, build_example
from torch import nn

from rllib_ext.rl.module.same_network import difference


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_the_same_network_whatever_its_weights(name):
    theirs, own = build_example(name), build_example(name)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1)
    before = {key: value.clone() for key, value in own.state_dict().items()}
    assert difference(theirs, own) == ""
    assert all(torch.equal(before[key], value) for key, value in own.state_dict().items())


class Own(TorchRLModule, ValueFunctionAPI):
    """A user's own, whose model configuration is the user's own too."""

    def setup(self):
        self.encoder = nn.Linear(5, 8)
        self.pi, self.value = nn.Linear(8, 3), nn.Linear(8, 1)

    def features(self, batch):
        return self.encoder(batch[Columns.OBS]).relu()

    def _forward(self, batch, **kwargs):
        return {Columns.ACTION_DIST_INPUTS: self.pi(self.features(batch))}

    def compute_values(self, batch, embeddings=None):
        return self.value(self.features(batch) * self.model_config["scale"]).squeeze(-1)


class Tanh(Own):
    def features(self, batch):
        return self.encoder(batch[Columns.OBS]).tanh()


class Unrunnable(Own):
    def features(self, batch):
        return super().features(batch) * batch["weights"]


@dataclasses.dataclass
class Settings:
    scale: float = 1.0

    def __getitem__(self, name):
        return getattr(self, name)


def build(module_class, scale=1.0, settings=None):
    return module_class(
        observation_space=gym.spaces.Box(-1.0, 1.0, (5,), np.float32),
        action_space=gym.spaces.Discrete(3),
        model_config={"scale": scale} if settings is None else settings,
    )


def test_another_class_that_computes_something_else_is_named():
    told = difference(build(Own), build(Tanh))
    assert told == (
        "with the same weights it gives other actions and values: class is Own there and Tanh here"
    )


def test_another_class_that_computes_the_same_is_the_same_network():
    class Renamed(Own):
        pass

    assert difference(build(Own), build(Renamed)) == ""


def test_a_critic_that_differs_is_told_too():
    told = difference(build(Own, 2.0), build(Own))
    assert told == "with the same weights it gives other values: scale is 2.0 there and 1.0 here"


def test_a_model_configuration_may_be_a_dataclass():
    assert difference(build(Own), build(Own, settings=Settings())) == ""
    assert "scale is 1.0 there and 3.0 here" in difference(
        build(Own), build(Own, settings=Settings(3.0))
    )


def test_networks_that_do_not_run_on_examples_are_compared_by_class_and_configuration():
    assert difference(build(Unrunnable), build(Unrunnable)) == ""
    assert (
        difference(build(Unrunnable, 2.0), build(Unrunnable)) == "scale is 2.0 there and 1.0 here"
    )
