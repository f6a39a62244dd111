"""Actions of several parts: each episode is played with its own, whoever plays beside it."""

import weakref

import gymnasium
import numpy as np
import pytest
import torch
import tree
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rllib_ext.envs.shift import Shift
from rllib_ext.envs.shifted import shifted_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.evaluation.reference import ConstantPolicy, RandomPolicy, constant_actions
from rllib_ext.policy.acting import ConnectorPolicy, DirectPolicy
from rllib_ext.policy.sensitivity import measure_sensitivity

STEPS = 4
SPACES = {
    "tuple": Tuple((Discrete(3), Discrete(3))),
    "dict": Dict({"b": Discrete(4), "a": Discrete(2)}),
    "with boxes": Dict({"push": Box(-1.0, 1.0, (2,), np.float32), "gear": Discrete(3)}),
    "nested": Tuple(
        (Dict({"x": Discrete(3), "y": Tuple((Discrete(2), Discrete(2)))}), Discrete(5))
    ),
    "several discrete": MultiDiscrete([3, 4]),
    "box": Box(-2.0, 2.0, (3,), np.float32),
    "discrete": Discrete(4),
}


class Recording(gymnasium.Env):
    """Notes its actions; the reward is 1 for a valid one that is `wanted`."""

    observation_space = Box(-1.0, 1.0, (3,), np.float32)

    def __init__(self, space, wanted=None):
        self.action_space, self.wanted, self.taken = space, wanted, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = STEPS + (seed or 0) % 3
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), (self.action_space, action)
        self.taken.append(action)
        self.left -= 1
        seen = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return seen, float(_equal(action, self.wanted)), self.left == 0, False, {}


def _equal(one, other):
    if other is None:
        return False
    return all(
        np.array_equal(a, b) for a, b in zip(tree.flatten(one), tree.flatten(other), strict=True)
    )


def ppo(space, **model):
    return (
        PPOConfig()
        .environment(lambda config: Recording(space))
        .env_runners(num_env_runners=0, num_envs_per_env_runner=3)
        .rl_module(model_config={"fcnet_hiddens": [8], **model})
        .debugging(seed=3)
    )


def policy_for(space, stochastic=False, **model):
    """RLlib's own network and connectors, with larger outputs than it begins with."""
    config = ppo(space, **model)
    spaces = (Recording.observation_space, space)
    given = {INPUT_ENV_SPACES: spaces, INPUT_ENV_SINGLE_SPACES: spaces}
    pipeline = config.build_env_to_module_connector(spaces=given)
    given[DEFAULT_MODULE_ID] = (pipeline.observation_space, space)
    torch.manual_seed(5)
    module = config.get_rl_module_spec(spaces=given).build()
    with torch.no_grad():
        for parameter in module.pi.parameters():
            parameter.mul_(30.0)
    to_env = config.build_module_to_env_connector(spaces=given)
    return ConnectorPolicy(module, pipeline, to_env, stochastic=stochastic)


def taken(policy, space, seeds):
    envs = []
    evaluator = Evaluator(lambda: envs.append(Recording(space)) or envs[-1])
    evaluator.run(policy, seeds)
    return [env.taken for env in envs]


def test_a_policy_that_always_does_the_same_does_it_in_every_environment():
    policy = policy_for(SPACES["tuple"])
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.zero_()
        # The logits of the first part, then of the second.
        policy.module.pi.net.mlp[-1].bias[[2, 3]] = 5.0
    evaluator = Evaluator(lambda: Recording(SPACES["tuple"], wanted=(2, 0)))
    assert evaluator.run(policy, (0, 3)).returns == (float(STEPS), float(STEPS))


@pytest.mark.parametrize("stochastic", [False, True], ids=["mode", "drawn"])
@pytest.mark.parametrize(
    ("space", "lstm"),
    [*((space, False) for space in SPACES.values()), (SPACES["with boxes"], True)],
    ids=[*SPACES, "recurrent with boxes"],
)
def test_an_episode_takes_the_same_actions_alone_and_beside_others(space, stochastic, lstm):
    policy = policy_for(space, stochastic, use_lstm=lstm)
    seeds = (1, 2, 3)
    together = taken(policy, space, seeds)
    for found, seed in zip(together, seeds, strict=True):
        (alone,) = taken(policy, space, [seed])
        tree.assert_same_structure(found, alone)
        for one, other in zip(tree.flatten(found), tree.flatten(alone), strict=True):
            assert np.allclose(one, other, atol=1e-4)
    # Unlike actions, or the comparison says nothing.
    assert len({repr(actions) for actions in together}) == 3


def test_what_was_seen_in_episodes_that_are_over_is_let_go():
    policy, seen, held = policy_for(SPACES["discrete"]), [], []

    class Watching:
        begin = staticmethod(policy.begin)

        def act(self, episodes, observations, rewards):
            seen.extend(map(weakref.ref, observations))
            held.append(sum(observation() is not None for observation in seen))
            return policy.act(episodes, observations, rewards)

    Evaluator(lambda: Recording(SPACES["discrete"]), width=2).run(Watching(), range(12))
    assert len(seen) > 50
    # Two episodes, and the last of each before them.
    assert max(held) <= 2 * (STEPS + 3)


# RLlib itself can't evaluate a nested space with a Box of two values: it asks for a log-probability.
@pytest.mark.parametrize("space", [SPACES[name] for name in ("tuple", "nested", "box")])
def test_the_actions_are_those_that_rllibs_own_env_runner_takes(space):
    envs = []
    config = ppo(space).environment(lambda config: envs.append(Recording(space)) or envs[-1])
    runner = SingleAgentEnvRunner(config=config)
    policy = policy_for(space)
    runner.module.load_state_dict(policy.module.state_dict(), strict=False)
    episodes = runner.sample(num_episodes=3, explore=False)
    observations = [episode.get_observations() for episode in episodes]
    policy.begin(range(len(episodes)))
    for step in range(STEPS):
        shown = [seen[step] for seen in observations]
        actions = policy.act(range(len(shown)), shown, [0.0] * len(shown))
        for env, action in zip(envs[-len(shown) :], actions, strict=True):
            tree.assert_same_structure(action, env.taken[step])
            assert all(
                np.allclose(a, b, atol=1e-4)
                for a, b in zip(tree.flatten(action), tree.flatten(env.taken[step]), strict=True)
            )


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_reference_policies_and_noise_give_valid_actions(space):
    config = ppo(space)
    for policy in (RandomPolicy(space), *map(ConstantPolicy, constant_actions(space)[:4])):
        for shift in (Shift(), Shift(action_noise=0.5)):
            make = shifted_maker(config, shift)
            assert Evaluator(make).run(policy, (1, 2)).lengths == (STEPS + 1, STEPS + 2)


def test_constant_actions_of_small_discrete_parts_are_all_combinations():
    actions = constant_actions(SPACES["tuple"])
    assert sorted(actions) == [(a, b) for a in range(3) for b in range(3)]
    pairs = constant_actions(SPACES["dict"])
    assert sorted((p["a"], p["b"]) for p in pairs) == [(a, b) for a in range(2) for b in range(4)]
    several = constant_actions(MultiDiscrete([3, 4], start=[1, 0]))
    assert sorted(map(tuple, several)) == [(a, b) for a in (1, 2, 3) for b in range(4)]
    for space, found in ((SPACES["dict"], pairs), (MultiDiscrete([3, 4], start=[1, 0]), several)):
        assert all(space.contains(action) for action in found)


@pytest.mark.parametrize("name", ["tuple", "with boxes", "nested"])
def test_sensitivity_of_a_policy_with_several_actions(name):
    space = SPACES[name]
    evaluator = Evaluator(lambda: Recording(space))
    table = measure_sensitivity(policy_for(space), evaluator, (1, 2), sparsities=(0.5, 1.0))
    assert all(np.isfinite(m.kl) for m in table.measurements)
    assert max(m.kl for m in table.measurements) > 0.01


class DrawsItself:
    """As RLlib's autoregressive example: the module gives actions, not only their distribution."""

    def __init__(self, module):
        self.module, self.forwards = module, []
        for name in ("forward_inference", "forward_exploration"):
            setattr(module, name, self._wrapped(getattr(module, name), name))

    def _wrapped(self, forward, name):
        def drawing(batch):
            outputs = forward(batch)
            outputs["actions"] = torch.randint(0, 4, (len(outputs["action_dist_inputs"]),))
            self.forwards.append(outputs["actions"].tolist())
            return outputs

        return drawing


@pytest.mark.parametrize("plain", [False, True], ids=["connectors", "direct"])
def test_actions_that_a_module_draws_itself_are_taken_and_repeat_themselves(plain):
    policy = policy_for(SPACES["discrete"], stochastic=True)
    module = DrawsItself(policy.module)
    if plain:
        policy = DirectPolicy(policy.module, stochastic=True)
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    first = taken(policy, SPACES["discrete"], (1, 2, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    by_step = [[actions[i] for actions in first if i < len(actions)] for i in range(STEPS)]
    assert module.forwards[:STEPS] == by_step
    torch.manual_seed(12)
    assert taken(policy, SPACES["discrete"], (1, 2, 4)) == first
    assert taken(policy, SPACES["discrete"], (4, 5, 7)) != first
