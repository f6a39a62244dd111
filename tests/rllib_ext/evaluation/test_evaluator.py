import gymnasium
import numpy as np
import pytest
import tree
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module.frame_stacking import FrameStackingEnvToModule
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.tune.registry import register_env

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Episodes, Evaluator
from rllib_ext.evaluation.reference import (
    ConstantPolicy,
    RandomPolicy,
    best_constant_episodes,
    constant_actions,
    random_policy_episodes,
)
from rllib_ext.policy.acting import ConnectorPolicy
from rllib_ext.pruning.errors import ConfigError

SEEDS = (3, 11, 1, 7)


class SeedLong(gymnasium.Env):
    """An episode lasts as many steps as its seed says; action 1 earns 1, action 0 nothing."""

    observation_space = Box(-1000.0, 1000.0, (1,), np.float32)
    action_space = Discrete(2)

    def __init__(self, config=None):
        self.given = dict(config or {})
        self.resets = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets.append(seed)
        self.left = seed
        return np.array([self.left], np.float32), {}

    def step(self, action):
        self.left -= 1
        ended = self.left <= 0
        truncated = ended and self.given.get("truncates", False)
        return np.array([self.left], np.float32), float(action), ended, truncated, {}


class Endless(SeedLong):
    def step(self, action):
        return np.zeros(1, np.float32), 1.0, False, False, {}


class Watching(ConstantPolicy):
    """Records what it is asked."""

    def __init__(self, action):
        super().__init__(action)
        self.asked = []

    def act(self, episodes, observations, rewards):
        self.asked.append([tuple(map(float, o)) for o in observations])
        self.rewards = list(rewards)
        return super().act(episodes, observations, rewards)


class OneBuffer(SeedLong):
    """Shows its steps in the same arrays at every step, alone or nested."""

    def __init__(self, nest=lambda array, *_: array, shape=(1,)):
        super().__init__()
        box = Box(-1000.0, 1000.0, shape, np.float32)
        self.observation_space = nest(box, Discrete(10), Dict, Tuple)
        self.array = np.zeros(shape, np.float32)
        self.shown = nest(self.array, 7, dict, tuple)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.array[:] = 0.0
        return self.shown, {}

    def step(self, action):
        _, *rest = super().step(action)
        self.array += 1.0
        return (self.shown, *rest)


def cartpole():
    return gymnasium.make("CartPole-v1")


def test_every_seed_gets_one_finished_episode_in_the_order_of_the_seeds():
    envs = []
    evaluator = Evaluator(lambda: envs.append(SeedLong()) or envs[-1])
    episodes = evaluator.run(ConstantPolicy(1), SEEDS)
    assert episodes == Episodes(SEEDS, (3.0, 11.0, 1.0, 7.0), SEEDS)
    assert [env.resets for env in envs] == [[3], [11], [1], [7]]
    # Environments are used again.
    assert evaluator.run(ConstantPolicy(0), (2, 9)) == Episodes((2, 9), (0.0, 0.0), (2, 9))
    assert len(envs) == 4


def test_the_policy_is_only_asked_for_unfinished_episodes_with_the_latest_observations():
    policy = Watching(1)
    Evaluator(SeedLong).run(policy, (1, 3, 2))
    assert policy.asked == [[(1.0,), (3.0,), (2.0,)], [(2.0,), (1.0,)], [(1.0,)]]
    assert policy.rewards == [1.0]


def test_an_environment_takes_up_the_next_episode_where_one_is_over():
    envs, policy = [], Watching(1)
    evaluator = Evaluator(lambda: envs.append(SeedLong()) or envs[-1], width=2)
    asked = []
    act = policy.act
    policy.act = lambda episodes, *seen: asked.append(list(episodes)) or act(episodes, *seen)
    assert evaluator.run(policy, (1, 4, 2, 1, 3)) == Episodes(
        (1, 4, 2, 1, 3), (1.0, 4.0, 2.0, 1.0, 3.0), (1, 4, 2, 1, 3)
    )
    assert [env.resets for env in envs] == [[1, 2, 1], [4, 3]]
    assert asked == [[0, 1], [1, 2], [1, 2], [1, 3], [4], [4], [4]]
    # The reward of the first step of an episode is none of the last one's.
    assert policy.asked[1] == [(3.0,), (2.0,)]


@pytest.mark.parametrize("width", [1, 3, 8])
def test_episodes_do_not_depend_on_how_many_are_under_way(width):
    found = Evaluator(lambda: gymnasium.Wrapper(cartpole()), width=width).run(
        RandomPolicy(Discrete(2)), range(8)
    )
    assert found == Evaluator(cartpole).run(RandomPolicy(Discrete(2)), range(8))


NESTS = {
    "array": lambda array, number, mapping, row: array,
    "dict": lambda array, number, mapping, row: mapping({"a": array, "b": row((array, number))}),
    "tuple": lambda array, number, mapping, row: row((array, mapping({"c": array}))),
}


@pytest.mark.parametrize("nest", NESTS.values(), ids=NESTS)
def test_a_policy_can_keep_what_it_sees_of_an_environment_with_one_buffer(nest):
    kept = []

    class Keeping(ConstantPolicy):
        def act(self, episodes, observations, rewards):
            kept.extend(observations)
            return super().act(episodes, observations, rewards)

    Evaluator(lambda: OneBuffer(nest)).run(Keeping(1), (4,))
    expected = [nest(np.array([n], np.float32), 7, dict, tuple) for n in range(4)]
    tree.assert_same_structure(kept, expected)
    assert tree.flatten(kept) == tree.flatten(expected)


def frames_seen(make):
    """What a module is given by RLlib's frame stacking while its policy plays."""
    ppo = PPOConfig().rl_module(model_config={"conv_filters": [[2, 2, 1]]})
    env = make()
    spaces = (env.observation_space, env.action_space)
    given = {INPUT_ENV_SPACES: spaces, INPUT_ENV_SINGLE_SPACES: spaces}
    ppo.env_runners(env_to_module_connector=lambda *_: FrameStackingEnvToModule(num_frames=3))
    pipeline = ppo.build_env_to_module_connector(spaces=given)
    given[DEFAULT_MODULE_ID] = (pipeline.observation_space, spaces[1])
    module = ppo.get_rl_module_spec(spaces=given).build()
    forward, seen = module.forward_inference, []

    def recording(batch):
        seen.append(batch[Columns.OBS][0, 0, 0].tolist())
        return forward(batch)

    module.forward_inference = recording
    to_env = ppo.build_module_to_env_connector(spaces=given)
    Evaluator(make).run(ConnectorPolicy(module, pipeline, to_env), (4,))
    return seen


def test_frames_are_stacked_as_they_came_from_an_environment_with_one_buffer():
    def make():
        return OneBuffer(shape=(4, 4, 1))

    assert frames_seen(make) == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]


def test_truncated_episodes_are_finished_too():
    evaluator = Evaluator(lambda: SeedLong({"truncates": True}))
    assert evaluator.run(ConstantPolicy(1), (4, 2)).returns == (4.0, 2.0)


def test_an_endless_episode_is_cut_with_a_warning(caplog):
    episodes = Evaluator(Endless, max_episode_steps=25).run(ConstantPolicy(0), (5,))
    assert episodes.lengths == (25,)
    assert episodes.returns == (25.0,)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "seed 5" in record.message
    assert "max_episode_steps" in record.message


def test_an_episode_that_ends_at_the_limit_is_not_called_cut(caplog):
    Evaluator(SeedLong, max_episode_steps=7).run(ConstantPolicy(0), (7, 3))
    assert caplog.records == []


def test_mean_and_sample_standard_deviation():
    episodes = Episodes((1, 2, 3), (1.0, 2.0, 6.0), (1, 1, 1))
    assert episodes.count == 3
    assert episodes.mean == 3.0
    assert episodes.std == pytest.approx(7.0**0.5)
    assert Episodes((1,), (5.0,), (1,)).std == 0.0


@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1", "Pendulum-v1"])
@pytest.mark.parametrize("most", [60, 30])
def test_episodes_of_a_native_environment_are_those_of_single_ones(env, most, caplog):
    def make():
        return gymnasium.make(env, max_episode_steps=60)

    def wrapped():
        return gymnasium.Wrapper(make())

    policy, found = RandomPolicy(make().action_space), []
    for maker in (make, wrapped):
        evaluator = Evaluator(maker, max_episode_steps=most)
        episodes = evaluator.run(policy, SEEDS)
        assert (evaluator._native is None) == (maker is wrapped)
        found.append((episodes, sorted(record.message for record in caplog.records)))
        caplog.clear()
    (native, warned), (single, warned_of_single) = found
    assert (native.seeds, native.lengths) == (single.seeds, single.lengths)
    assert native.returns == pytest.approx(single.returns, rel=1e-9)
    assert warned == warned_of_single
    assert bool(warned) == (max(native.lengths) == most == 30)


def test_episodes_are_split_in_order():
    episodes = Episodes((1, 2, 3), (1.0, 2.0, 6.0), (4, 5, 6))
    first, none, rest = episodes.split([1, 0, 2])
    assert first == Episodes((1,), (1.0,), (4,))
    assert none == Episodes((), (), ())
    assert rest == Episodes((2, 3), (2.0, 6.0), (5, 6))


def test_equal_seeds_give_equal_episodes_and_others_do_not():
    evaluator = Evaluator(cartpole)
    policy = RandomPolicy(evaluator.action_space)
    first = evaluator.run(policy, range(20))
    evaluator.run(ConstantPolicy(1), range(7))
    assert evaluator.run(policy, range(20)) == first
    assert Evaluator(cartpole).run(RandomPolicy(Discrete(2)), range(20)) == first
    assert evaluator.run(policy, range(100, 120)).returns != first.returns


def test_an_episode_of_the_random_policy_depends_on_its_seed_alone():
    evaluator = Evaluator(cartpole)
    policy = RandomPolicy(evaluator.action_space)
    together = evaluator.run(policy, range(8)).returns
    alone = tuple(evaluator.run(policy, [seed]).returns[0] for seed in range(8))
    assert alone == together


SPACES = [
    Discrete(5, start=3),
    Box(-1.0, 1.0, (2,), np.float32),
    MultiDiscrete([3, 4]),
    Tuple((Discrete(9), Box(0.0, 1.0, (2,)))),
    Dict({"a": Discrete(9), "b": MultiDiscrete([5, 5])}),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_the_random_policy_is_seeded_valid_and_spread_in_every_space(space):
    def draw(seeds, times=30):
        policy = RandomPolicy(space)
        policy.begin(seeds)
        everyone = range(len(seeds))
        nothing = [None] * len(seeds)
        return [policy.act(everyone, nothing, nothing) for _ in range(times)]

    drawn = draw((1, 2))
    assert all(space.contains(action) for actions in drawn for action in actions)
    assert repr(drawn) == repr(draw((1, 2)))
    first, second = ([repr(actions[i]) for actions in drawn] for i in (0, 1))
    assert first != second
    assert len(set(first)) > 3


def test_the_random_policy_leaves_the_environments_own_action_space_alone():
    space = Discrete(1000, seed=4)
    policy = RandomPolicy(space)
    policy.begin((1,))
    policy.act((0,), [None], [0.0])
    assert space.sample() == Discrete(1000, seed=4).sample()


def test_constant_actions_of_a_discrete_space_are_all_of_them():
    assert constant_actions(Discrete(3, start=-1)) == [-1, 0, 1]
    assert constant_actions(Discrete(3, start=5)) == [5, 6, 7]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(-2.0, 4.0, (2,), np.float32), [[-2, -2], [1, 1], [4, 4]]),
        (Box(-np.inf, np.inf, (1,), np.float32), [[-1], [0], [1]]),
        (Box(np.array([0.0, -np.inf]), np.array([np.inf, 3.0])), [[0, -1], [0.5, 1], [1, 3]]),
        (Box(100, 255, (1,), np.uint8), [[100], [177], [255]]),
    ],
)
def test_constant_actions_of_a_box_are_lowest_middle_and_highest(box, expected):
    actions = constant_actions(box)
    assert [list(action) for action in actions] == expected
    assert all(box.contains(action) for action in actions)


@pytest.mark.parametrize(
    "space", [Discrete(1000, start=7), MultiDiscrete([3, 4]), *SPACES[3:]], ids=repr
)
def test_constant_actions_of_other_spaces_are_a_fixed_valid_sample(space):
    actions = constant_actions(space, most=12)
    assert len(actions) == 12
    assert all(space.contains(action) for action in actions)
    assert repr(actions) == repr(constant_actions(space, most=12))
    assert len({repr(action) for action in actions}) > 3


def test_the_best_constant_action_is_chosen_on_its_own_seeds():
    config = PPOConfig().environment(SeedLong)
    action, episodes = best_constant_episodes(config, choose=(2, 3), seeds=(5, 6))
    assert action == 1
    assert episodes == Episodes((5, 6), (5.0, 6.0), (5, 6))


def test_the_random_policy_of_a_configured_environment():
    episodes = random_policy_episodes(PPOConfig().environment("CartPole-v1"), range(200))
    assert episodes.seeds == tuple(range(200))
    # A random CartPole policy lasts for about 22 steps.
    assert episodes.mean == pytest.approx(22.0, abs=2.5)


def make_seed_long(context):
    return SeedLong(context)


@pytest.mark.parametrize("env", [SeedLong, make_seed_long, "registered-seed-long"])
def test_environments_are_built_from_classes_functions_and_registered_names(env):
    register_env("registered-seed-long", make_seed_long)
    config = PPOConfig().environment(env, env_config={"size": 3})
    made = env_maker(config)()
    assert isinstance(made, SeedLong)
    assert made.given == {"size": 3}


def test_gymnasium_environments_get_their_arguments():
    config = PPOConfig().environment("CartPole-v1", env_config={"sutton_barto_reward": True})
    assert env_maker(config)().unwrapped._sutton_barto_reward is True


def test_a_configuration_without_environment_is_refused_with_the_mend():
    with pytest.raises(ConfigError, match=r"no environment\. Add \.environment\("):
        env_maker(PPOConfig())
