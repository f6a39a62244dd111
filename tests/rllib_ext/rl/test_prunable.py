"""What is refused of a network and a way to prune it, before anything trains."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rllib_ext import PruningConfig, with_pruning
from rllib_ext.packed.architecture import refuse_spaces
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.structure.graph import trace
from rllib_ext.rl.prunable import fresh_network, refuse_unprunable

PLAIN = PruningConfig(horizon=1000)
CRITIC = PLAIN.replace(critic_final_sparsity=0.5)


def test_what_can_be_pruned_passes(small_ppo):
    neurons = CRITIC.replace(granularity="neuron", exclude=("pi.*",))
    paths = PLAIN.replace(criterion="synflow")
    refuse_unprunable(
        small_ppo(), [PLAIN, CRITIC, neurons, paths, paths.replace(granularity="neuron")]
    )


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        ([PLAIN.replace(exclude=("*",))], "no prunable weights"),
        ([PLAIN, PLAIN.replace(exclude=("polcy.*",))], r"no parameter.*pi\.net\.mlp\.0\.weight"),
        ([PLAIN.replace(granularity="layer"), PLAIN], "path around"),
        ([PLAIN, PLAIN.replace(granularity="branch")], "dict observation"),
    ],
)
def test_what_a_member_would_refuse_is_refused(small_ppo, ways, message):
    with pytest.raises(ConfigError, match=message):
        refuse_unprunable(small_ppo(), ways)


def test_of_several_ways_the_one_with_a_target_of_the_critic_is_looked_at(small_ppo):
    critic_dense = [way.replace(exclude=("vf.*", "*critic*")) for way in (PLAIN, CRITIC)]
    refuse_unprunable(small_ppo(), critic_dense[:1])
    for ways in (critic_dense, critic_dense[::-1]):
        with pytest.raises(ConfigError, match="critic alone"):
            refuse_unprunable(small_ppo(), ways)
    shared = small_ppo().rl_module(model_config={"vf_share_layers": True})
    with pytest.raises(ConfigError, match="share their encoder"):
        refuse_unprunable(shared, [CRITIC, PLAIN])


def test_one_network_is_built_and_its_coupling_found_once(small_ppo, monkeypatch):
    calls = []

    def counted(function):
        return lambda *args: calls.append(function.__name__) or function(*args)

    for function in (fresh_network, trace):
        monkeypatch.setattr(f"rllib_ext.rl.prunable.{function.__name__}", counted(function))
    neurons = PLAIN.replace(granularity="neuron")
    others = [neurons.replace(critic_final_sparsity=0.5), neurons.replace(exclude=("pi.*",))]
    refuse_unprunable(small_ppo(), [PLAIN, neurons, *others])
    assert calls == ["fresh_network", "trace"]


@pytest.mark.ray
def test_the_network_is_the_one_that_a_learner_has(small_ppo):
    ppo = small_ppo()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    module, pipeline = fresh_network(ppo)
    assert torch.equal(torch.rand(3), expected)
    algorithm = with_pruning(ppo, PLAIN).build_algo()
    try:
        learned = algorithm.learner_group._learner.module["default_policy"].unwrapped()
        shapes = [{n: p.shape for n, p in m.named_parameters()} for m in (module, learned)]
    finally:
        algorithm.stop()
    assert shapes[0] == shapes[1]
    assert pipeline.observation_space.shape == (4,)


class Broken(TorchRLModule):
    """A user's module that cannot be built."""

    def setup(self) -> None:
        raise KeyError("hiddens")


def test_a_network_that_cannot_be_built_says_why(small_ppo):
    broken = small_ppo().rl_module(rl_module_spec=RLModuleSpec(module_class=Broken))
    with pytest.raises(ConfigError, match="cannot build the network: KeyError: 'hiddens'"):
        refuse_unprunable(broken, [PLAIN])


class Cube(gym.Env):
    """Observations that RLlib has no network for by itself."""

    observation_space = gym.spaces.Box(0.0, 1.0, (2, 2, 2, 2), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config=None):
        pass


def test_neither_does_one_for_such_observations(small_ppo):
    with pytest.raises(ConfigError, match=r"ppo\.rl_module: RLlib cannot build the network"):
        refuse_unprunable(small_ppo(env=Cube), [PLAIN])


def playing(observed, actions=None):
    """An environment of some spaces, which nobody steps."""

    class Played(gym.Env):
        observation_space, action_space = observed, actions or gym.spaces.Discrete(2)

        def __init__(self, config=None):
            pass

    return Played


@pytest.mark.parametrize(
    "observed",
    [
        gym.spaces.Box(0, 255, (4,), np.uint8),
        gym.spaces.Box(-5, 5, (4,), np.int64),
        gym.spaces.Box(0, 255, (42, 42, 3), np.uint8),
    ],
    ids=str,
)
def test_whole_numbers_on_which_rllib_s_layers_fail_are_refused_with_the_mend(small_ppo, observed):
    with pytest.raises(ConfigError, match="DtypeObservation") as error:
        refuse_unprunable(small_ppo(env=playing(observed)), [PLAIN])
    assert str(observed) in str(error.value)
    # Packs say the same, and don't send anybody to an engine that fails too.
    with pytest.raises(ConfigError, match="DtypeObservation") as packed:
        refuse_spaces(observed, gym.spaces.Discrete(2))
    assert "rllib engine" not in str(packed.value)


@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_floats_pass(small_ppo, number):
    refuse_unprunable(small_ppo(env=playing(gym.spaces.Box(-1.0, 1.0, (4,), number))), [PLAIN])


def test_floats_without_a_bound_worth_the_name_pass(small_ppo):
    largest = np.finfo(np.float32).max
    seen = gym.spaces.Box(-largest, largest, (4,), np.float32)
    for actions in (gym.spaces.Discrete(2), gym.spaces.Box(-1.0, 1.0, (2,), np.float32)):
        refuse_unprunable(small_ppo(env=playing(seen, actions)), [PLAIN])


def test_whole_numbers_that_a_connector_makes_floats_pass(small_ppo):
    ppo = small_ppo(env=playing(gym.spaces.Box(0, 255, (4,), np.uint8)))
    refuse_unprunable(
        ppo.env_runners(env_to_module_connector=lambda *_, **__: FlattenObservations()), [PLAIN]
    )


def test_actions_that_rllib_cannot_draw_are_refused(small_ppo):
    seen = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
    plane = gym.spaces.MultiDiscrete([[2, 3], [2, 2]])
    with pytest.raises(ConfigError, match="MultiDiscrete of one dimension"):
        refuse_unprunable(small_ppo(env=playing(seen, plane)), [PLAIN])
    refuse_unprunable(small_ppo(env=playing(seen, gym.spaces.MultiDiscrete([2, 3]))), [PLAIN])


SHIFTED = [
    gym.spaces.Discrete(3, start=5),
    gym.spaces.MultiDiscrete([2, 3], start=[0, 4]),
    gym.spaces.Tuple([gym.spaces.Discrete(2), gym.spaces.Discrete(2, start=-1)]),
]


@pytest.mark.parametrize("actions", SHIFTED, ids=str)
def test_discrete_actions_that_do_not_begin_with_0_are_refused(small_ppo, actions):
    given = []

    class Listening(playing(gym.spaces.Box(-1.0, 1.0, (4,), np.float32), actions)):
        def reset(self, *, seed=None, options=None):
            return np.zeros(4, np.float32), {}

        def step(self, action):
            given.append(actions.contains(action))
            return np.zeros(4, np.float32), 0.0, False, False, {}

    ppo = small_ppo(env=Listening)
    SingleAgentEnvRunner(config=ppo).sample(num_timesteps=40)
    assert not all(given)
    with pytest.raises(ConfigError, match=r"begin with 0.*TransformAction"):
        refuse_unprunable(ppo, [PLAIN])
    # A connector of one's own may add where they begin.
    refuse_unprunable(ppo.env_runners(module_to_env_connector=lambda *_: []), [PLAIN])


def test_a_look_at_the_network_leaves_torch_s_generator_as_it_was(small_ppo):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    refuse_unprunable(small_ppo(), [PLAIN])
    assert torch.equal(torch.rand(3), expected)
