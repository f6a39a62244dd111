"""What can't be exported is refused, with the reason; what does something else is found out."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
from export_policies import small
from own_modules import Branching
from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
from ray.rllib.connectors.env_to_module import FlattenObservations, PrevActionsPrevRewards
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchDeterministic,
)
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import nn

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.export import export_policy, exporting
from rllib_ext.export.errors import ExportError, MismatchError
from rllib_ext.export.exporting import Options
from rllib_ext.export.numpy_loader import Policy
from rllib_ext.export.opened import open_saved, untrained
from rllib_ext.export.operations import Dense
from rllib_ext.export.source import source_of
from rllib_ext.export.storage import described, nodes_of
from rllib_ext.export.verify import compare, record, require
from rllib_ext.policy.store import save_policy

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def saved(ray_cluster, tmp_path_factory):
    """Builds a policy of a configuration and saves it."""

    def save(config):
        folder = tmp_path_factory.mktemp("saved") / "policy"
        algorithm = config.build_algo()
        try:
            save_policy(algorithm, {}, folder, {})
        finally:
            algorithm.stop()
        return open_saved(folder)[0]

    return save


@pytest.fixture(scope="module")
def cartpole(saved):
    return saved(small("CartPole-v1", {}))


class Contrary(TorchCategorical):
    """Where nothing is drawn, the least likely action is taken."""

    def to_deterministic(self):
        return TorchDeterministic(loc=self.logits.argmin(dim=-1))


class ContraryCatalog(PPOCatalog):
    def get_action_dist_cls(self, framework):
        return Contrary


def refused(parts):
    with pytest.raises(ExportError) as error:
        source_of(parts, {})
    return str(error.value)


def test_a_module_that_branches_is_refused(saved):
    spec = RLModuleSpec(module_class=Branching, model_config={"fcnet_hiddens": [8]})
    text = refused(saved(small("CartPole-v1", {}).rl_module(rl_module_spec=spec)))
    assert "Branching can't be exported" in text
    assert "branch on values" in text


def test_actions_that_rllib_itself_cannot_draw_are_refused():
    class Plane(gym.Env):
        observation_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
        action_space = gym.spaces.MultiDiscrete([[2, 3], [2, 2]])

        def __init__(self, config=None):
            pass

    assert "MultiDiscrete of one dimension" in refused(untrained(small(Plane, {})))


def test_the_mode_of_a_distribution_of_one_s_own_is_traced(saved, tmp_path):
    spec = RLModuleSpec(catalog_class=ContraryCatalog, model_config={"fcnet_hiddens": [8]})
    config = small("CartPole-v1", {}).rl_module(rl_module_spec=spec)
    options = Options(formats=("numpy", "c"), episodes=3, observations=50, measure=False)
    contracts = export_policy(saved(config), {}, config, tmp_path, options)
    assert contracts["c"]["verified"]["other_discrete_actions"] == 0


def test_drawing_from_a_distribution_of_one_s_own_is_refused(saved):
    spec = RLModuleSpec(catalog_class=ContraryCatalog, model_config={"fcnet_hiddens": [8]})
    parts = saved(small("CartPole-v1", {}).rl_module(rl_module_spec=spec))
    with pytest.raises(ExportError, match="Contrary can't draw actions outside of RLlib"):
        source_of(parts, {}, stochastic=True)


def test_a_connector_of_unknown_code_is_refused(saved):
    config = small("CartPole-v1", {}).env_runners(
        env_to_module_connector=lambda env, spaces, device: [
            PrevActionsPrevRewards(n_prev_actions=1, n_prev_rewards=1),
            FlattenObservations(),
        ]
    )
    assert "connector PrevActionsPrevRewards can't be exported" in refused(saved(config))


def test_an_operation_that_no_form_has_is_refused_by_name(cartpole):
    parts = dataclasses.replace(cartpole, module=cartpole.module)
    layers = parts.module.pi.net.mlp
    layers.append(nn.Hardshrink())
    try:
        text = refused(parts)
    finally:
        del layers[-1]
    assert "it uses the operation" in text
    assert "in pi.net.mlp" in text


@pytest.fixture(scope="module")
def recording(cartpole):
    evaluator = Evaluator(env_maker(small("CartPole-v1", {})))
    yield record(cartpole, evaluator, range(3), 200)
    evaluator.close()


def with_weights(program, change):
    nodes = list(program.nodes)
    number = next(i for i, n in enumerate(nodes) if isinstance(n.operation, Dense))
    weight = change(nodes[number].operation.weight.copy())
    operation = dataclasses.replace(nodes[number].operation, weight=weight)
    nodes[number] = dataclasses.replace(nodes[number], operation=operation)
    return dataclasses.replace(program, nodes=tuple(nodes))


def agreement_of(program, recording, parts):
    policy = Policy(described(program), nodes=nodes_of(program))
    return policy, compare(recording, policy, parts.module.action_space)


def test_enough_is_recorded_and_it_agrees(cartpole, recording):
    assert recording.count >= 200
    policy, agreement = agreement_of(source_of(cartpole, {}).program, recording, cartpole)
    assert agreement.observations == recording.count
    assert agreement.difference < 1e-6
    require(recording, policy, agreement)


def test_a_weight_that_is_off_by_a_thousandth_is_found(cartpole, recording):
    program = with_weights(source_of(cartpole, {}).program, lambda w: w * 1.001)
    policy, agreement = agreement_of(program, recording, cartpole)
    with pytest.raises(MismatchError, match="does not do what the policy does"):
        require(recording, policy, agreement)


def test_the_first_observation_that_differs_is_named(cartpole, recording):
    program = with_weights(source_of(cartpole, {}).program, lambda w: -w)
    policy, agreement = agreement_of(program, recording, cartpole)
    with pytest.raises(MismatchError) as error:
        require(recording, policy, agreement)
    assert "First at step 0 of episode 0: of the observation" in str(error.value)
    first = str(np.float32(recording.observations[0][0][0]))[:6]
    assert first in str(error.value)


def test_nothing_is_written_where_an_export_does_something_else(cartpole, tmp_path, monkeypatch):
    real = exporting.write_form

    def wrong(folder, program, choice, vectors=()):
        return real(folder, with_weights(program, lambda w: -w), choice, vectors)

    monkeypatch.setattr(exporting, "write_form", wrong)
    options = Options(formats=("numpy",), episodes=3, observations=50, measure=False)
    with pytest.raises(MismatchError):
        export_policy(cartpole, {}, small("CartPole-v1", {}), tmp_path / "out", options)
    assert list((tmp_path / "out").iterdir()) == []


def test_drawn_actions_follow_the_distribution(saved, tmp_path):
    config = small("Pendulum-v1", {})
    parts = saved(config)
    options = Options(
        formats=("numpy", "c", "onnx"), stochastic=True, episodes=3, observations=200, measure=False
    )
    contracts = export_policy(parts, {}, config, tmp_path, options)
    from rllib_ext.export import load

    observation = np.array([0.5, -0.5, 1.0], np.float32)
    noise = np.random.default_rng(0).normal(size=(4000, 1)).astype(np.float32)
    many = np.tile(observation, (4000, 1))
    drawn = {}
    for kind in contracts:
        policy = load(tmp_path / kind)
        found = policy.outputs(many, {"noise": noise})
        drawn[kind] = found["action"]
        mean, std = found["mean"][0], np.exp(found["log_std"][0])
        # RLlib takes a sample from [−1, 1] to [−2, 2] and cuts it off there.
        expected = np.clip(2 * (mean + std * noise), -2, 2)
        np.testing.assert_allclose(found["action"], expected, atol=1e-5)
    np.testing.assert_allclose(drawn["c"], drawn["onnx"], atol=1e-5)
    assert contracts["c"]["inputs"][1]["noise"] == "normal"
