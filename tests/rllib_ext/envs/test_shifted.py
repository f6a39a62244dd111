"""Shifted environments, held against environments that were built shifted."""

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.spaces import Box, Dict, Discrete
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.envs.shift import Shift
from rllib_ext.envs.shifted import leaf_spaces, shifted_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.evaluation.observation_std import observation_std
from rllib_ext.evaluation.reference import ConstantPolicy, RandomPolicy
from rllib_ext.pruning.errors import ConfigError

CARTPOLE = PPOConfig().environment("CartPole-v1")
PENDULUM = PPOConfig().environment("Pendulum-v1")
SEEDS = range(40, 52)


class HeavyCartPole(CartPoleEnv):
    """Built as it is, with derived values that follow."""

    def __init__(self):
        super().__init__()
        self.gravity, self.length, self.masspole = 15.0, 1.5, 0.4
        self.total_mass = self.masspole + self.masscart
        self.polemass_length = self.masspole * self.length


class Particular(CartPoleEnv):
    """As LunarLander, takes some values only."""

    def __init__(self, gravity=-9.0):
        super().__init__()
        assert gravity < 0, "below zero, please"


class Zeros(gymnasium.Env):
    """Shows zeros and a count, however it is acted upon; its reward is the action it was given."""

    observation_space = Dict(
        {
            "b": Box(-1.0, 1.0, (2,), np.float32),
            "a": Box(0, 255, (3,), np.uint8),
            "count": Discrete(3),
        }
    )
    action_space = Box(-2.0, 2.0, (1,), np.float32)
    steps = 50

    def __init__(self, config=None):
        self.config = dict(config or {})
        self.friction = self.config.get("friction", 0.0)

    def _seen(self):
        return {
            "b": np.zeros(2, np.float32),
            "a": np.full(3, 100, np.uint8),
            "count": self.step_number % 3,
        }

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number = 0
        return self._seen(), {}

    def step(self, action):
        self.step_number += 1
        return self._seen(), float(action[0]), self.step_number == self.steps, False, {}


class PushWhereItFalls:
    """A controller that balances the plain cart pole for a while."""

    def begin(self, seeds):
        self.seen = []

    def act(self, episodes, observations, rewards):
        self.seen += list(observations)
        return [int(o[2] + 0.5 * o[3] > 0) for o in observations]


def episodes(make, policy, seeds=SEEDS):
    evaluator = Evaluator(make)
    try:
        return evaluator.run(policy, seeds)
    finally:
        evaluator.close()


def observations(make, seeds, actions):
    found = []
    for seed in seeds:
        env = make()
        found.append(env.reset(seed=seed)[0])
        for action in actions:
            found.append(env.step(action)[0])
    return found


def test_attributes_that_are_set_give_the_environment_that_was_built_with_them():
    shift = Shift(set={"gravity": 15.0, "length": 1.5, "masspole": 0.4})
    limited = lambda: gymnasium.wrappers.TimeLimit(HeavyCartPole(), 500)  # noqa: E731
    found = episodes(shifted_maker(CARTPOLE, shift), PushWhereItFalls())
    assert found == episodes(limited, PushWhereItFalls())
    assert found != episodes(env_maker(CARTPOLE), PushWhereItFalls())


def test_a_derived_value_that_is_set_itself_stays():
    env = shifted_maker(CARTPOLE, Shift(set={"length": 2.0, "polemass_length": 0.3}))()
    assert (env.unwrapped.length, env.unwrapped.polemass_length) == (2.0, 0.3)


def test_what_the_constructor_takes_goes_to_the_constructor():
    heavy = lambda: gymnasium.make("Pendulum-v1", g=15.0, max_episode_steps=30)  # noqa: E731
    shift = Shift(set={"g": 15.0, "max_episode_steps": 30})
    policy = ConstantPolicy(np.array([0.5], np.float32))
    found = episodes(shifted_maker(PENDULUM, shift), policy)
    assert found == episodes(heavy, policy)
    assert set(found.lengths) == {30}


@pytest.mark.parametrize(
    "env", ["Pendulum-v1", "Pendulum", "gymnasium.envs.classic_control:Pendulum-v1"]
)
def test_arguments_are_found_by_every_kind_of_id_that_gymnasium_reads(env):
    make = shifted_maker(PPOConfig().environment(env), Shift(set={"g": 15.0}))
    assert make().spec.kwargs == {"g": 15.0}


@pytest.mark.parametrize("env", ["Pendulum-v99", "no_such_module:Mine-v0"])
def test_an_id_that_is_not_known_is_refused_with_the_mend(env):
    with pytest.raises(ConfigError, match=f"env = '{env}': .*Expected the id"):
        shifted_maker(PPOConfig().environment(env), Shift(noise=0.1, noise_unit="absolute"))


def test_keys_of_the_environments_own_mapping_are_replaced_and_the_configuration_left_as_it_is():
    config = PPOConfig().environment(Zeros, env_config={"friction": 0.25})
    env = shifted_maker(config, Shift(set={"friction": 0.75}))()
    assert (env.config, env.friction) == ({"friction": 0.75}, 0.75)
    assert config.env_config == {"friction": 0.25}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gravitas": 1}, "'gravitas' is neither .* CartPoleEnv. Did you mean 'gravity'"),
        ({"step": 1}, "'step' is neither"),
        ({"gravity": "heavy"}, "gravity = 'heavy'; expected a number"),
        ({"state.deep": 1}, "'state.deep' is neither"),
        ({"unwrapped": 1}, "unwrapped = 1 cannot be set"),
    ],
)
def test_what_cannot_be_set_is_refused_before_anything_runs(settings, said):
    with pytest.raises(ConfigError, match=said):
        shifted_maker(CARTPOLE, Shift(set=settings))


def test_a_value_that_the_constructor_rejects_is_named_with_what_it_says():
    gymnasium.register("Particular-v0", entry_point=Particular, max_episode_steps=9)
    try:
        with pytest.raises(ConfigError, match=r"'gravity = 5'.*AssertionError: below zero, please"):
            shifted_maker(PPOConfig().environment("Particular-v0"), Shift(set={"gravity": 5}))
    finally:
        gymnasium.registry.pop("Particular-v0")


def test_an_attribute_of_an_attribute_is_reached_by_dots():
    env = shifted_maker(CARTPOLE, Shift(set={"spec.max_episode_steps": 7}))()
    assert env.unwrapped.spec.max_episode_steps == 7


def test_certain_action_noise_is_a_random_policy():
    seeds = range(1000, 1400)
    make = shifted_maker(CARTPOLE, Shift(action_noise=1.0))
    noisy = episodes(make, ConstantPolicy(1), seeds)
    random = episodes(env_maker(CARTPOLE), RandomPolicy(Discrete(2)), seeds)
    error = np.hypot(noisy.std, random.std) / np.sqrt(len(seeds))
    assert abs(noisy.mean - random.mean) < 2.6 * error
    constant = episodes(env_maker(CARTPOLE), ConstantPolicy(1), seeds)
    assert abs(noisy.mean - constant.mean) > 5 * error


def test_action_noise_is_the_share_of_random_actions():
    counts = {0: 0, 1: 0, 2: 0}

    class Counting(gymnasium.Env):
        observation_space, action_space = Box(-1.0, 1.0, (1,), np.float32), Discrete(3)

        def reset(self, *, seed=None, options=None):
            return np.zeros(1, np.float32), {}

        def step(self, action):
            counts[int(action)] += 1
            return np.zeros(1, np.float32), 0.0, False, False, {}

    make = shifted_maker(
        PPOConfig().environment(lambda config: Counting()), Shift(action_noise=0.3)
    )
    env = make()
    env.reset(seed=5)
    for _ in range(6000):
        env.step(0)
    # A random action is the policy's own in one of three cases: 0.1 each, within 4 standard errors.
    for other in (1, 2):
        assert abs(counts[other] / 6000 - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 6000)


def test_noise_on_a_box_action_has_its_deviation_in_halves_of_the_range_and_is_clipped():
    config = PPOConfig().environment(Zeros)
    env = shifted_maker(config, Shift(action_noise=0.1))()
    given = []
    for seed in range(60):
        env.reset(seed=seed)
        given += [env.step(np.zeros(1, np.float32))[1] for _ in range(50)]
    assert np.std(given) == pytest.approx(0.2, rel=4 / np.sqrt(2 * len(given)))
    env.reset(seed=1)
    edge = [env.step(np.array([2.0], np.float32))[1] for _ in range(50)]
    assert max(edge) == 2.0
    assert min(edge) < 2.0


def test_observation_noise_has_its_deviation_and_leaves_the_environment_undisturbed():
    make = shifted_maker(CARTPOLE, Shift(noise=0.02, noise_unit="absolute"))
    actions = [0, 1] * 8
    noisy = np.array(observations(make, range(150), actions), np.float64)
    clean = np.array(observations(env_maker(CARTPOLE), range(150), actions), np.float64)
    off = noisy - clean
    assert np.allclose(off.std(axis=0), 0.02, rtol=4 / np.sqrt(2 * len(off)))
    assert np.abs(off.mean(axis=0)).max() < 4 * 0.02 / np.sqrt(len(off))


def test_noise_in_units_of_the_observation_scales_with_each_component():
    scale = np.array([0.1, 1.0, 0.0, 10.0])
    make = shifted_maker(CARTPOLE, Shift(noise=0.5), scale)
    actions = [0, 1] * 4
    noisy = np.array(observations(make, range(150), actions), np.float64)
    clean = np.array(observations(env_maker(CARTPOLE), range(150), actions), np.float64)
    assert np.allclose((noisy - clean).std(axis=0), 0.5 * scale, rtol=0.1)
    with pytest.raises(ConfigError, match="needs that measured"):
        shifted_maker(CARTPOLE, Shift(noise=0.5))


def test_pixels_stay_pixels_and_discrete_parts_stay_as_they_are():
    config = PPOConfig().environment(Zeros)
    make = shifted_maker(config, Shift(noise=200.0, noise_unit="absolute"))
    seen = observations(make, (3,), [np.zeros(1, np.float32)] * 30)
    pixels = np.array([o["a"] for o in seen])
    assert pixels.dtype == np.uint8
    assert {0, 255} <= set(pixels.ravel().tolist())
    assert [o["count"] for o in seen] == [i % 3 for i in range(31)]
    assert all(o["b"].dtype == np.float32 and o["b"].std() > 0 for o in seen)


def test_an_environment_that_gives_lists_for_arrays_is_noisy_as_one_that_gives_arrays():
    class Lists(CartPoleEnv):
        def reset(self, *, seed=None, options=None):
            observation, info = super().reset(seed=seed)
            return observation.tolist(), info

        def step(self, action):
            observation, *rest = super().step(action)
            return observation.tolist(), *rest

    of_lists = PPOConfig().environment(lambda config: Lists())
    of_arrays = PPOConfig().environment(lambda config: CartPoleEnv())
    scales = [
        observation_std(PushWhereItFalls(), env_maker(c), SEEDS) for c in (of_lists, of_arrays)
    ]
    assert np.array_equal(*scales)
    shift = Shift(noise=0.5)
    found = episodes(shifted_maker(of_lists, shift, scales[0]), PushWhereItFalls())
    assert found == episodes(shifted_maker(of_arrays, shift, scales[0]), PushWhereItFalls())


def test_noise_without_anything_to_disturb_is_refused():
    class Numbers(Zeros):
        observation_space = Discrete(4)

    with pytest.raises(ConfigError, match="has no Box"):
        shifted_maker(PPOConfig().environment(Numbers), Shift(noise=1.0, noise_unit="absolute"))
    with pytest.raises(ConfigError, match="expected at most 1"):
        shifted_maker(CARTPOLE, Shift(action_noise=1.5))


def test_noise_comes_from_the_episodes_seed_alone():
    make = shifted_maker(CARTPOLE, Shift(noise=0.05, noise_unit="absolute", action_noise=0.2))
    together = episodes(make, PushWhereItFalls())
    apart = [episodes(make, PushWhereItFalls(), [seed]).returns[0] for seed in SEEDS]
    assert list(together.returns) == apart


def test_the_deviation_of_observations_is_that_of_all_that_a_policy_saw():
    policy = PushWhereItFalls()
    found = observation_std(policy, env_maker(CARTPOLE), SEEDS)
    seen = []
    for seed in SEEDS:
        env = env_maker(CARTPOLE)()
        observation, done = env.reset(seed=seed)[0], False
        seen.append(observation)
        while not done:
            observation, _, ended, cut, _ = env.step(policy.act([0], [observation], [0.0])[0])
            seen.append(observation)
            done = ended or cut
    assert np.allclose(found, np.array(seen, np.float64).std(axis=0), rtol=1e-9)


def test_leaves_come_in_the_order_in_which_observations_are_flattened():
    import tree

    space = Zeros.observation_space
    flat = tree.flatten(space.sample())
    assert [leaf.contains(part) for leaf, part in zip(leaf_spaces(space), flat, strict=True)] == [
        True,
        True,
        True,
    ]
