"""CartPole without velocities, against RLlib's example and against CartPole-v1."""

import gymnasium
import numpy as np
import pytest
from ray.rllib.examples.envs.classes.stateless_cartpole import StatelessCartPole as Example

from rllib_ext.envs.stateless_cartpole import StatelessCartPole


@pytest.mark.parametrize("seed", range(5))
def test_it_is_rllibs_example_step_by_step(seed):
    env, example = StatelessCartPole(), Example()
    assert env.action_space == example.action_space
    assert env.observation_space == example.observation_space
    seen, expected = (each.reset(seed=seed)[0] for each in (env, example))
    rng = np.random.default_rng(seed)
    for _ in range(100):
        np.testing.assert_array_equal(seen, expected)
        assert env.observation_space.contains(seen)
        action = int(rng.integers(2))
        seen, *ended, _ = env.step(action)
        expected, *ends, _ = example.step(action)
        assert ended == ends
        if any(ended[1:]):
            break


def balanced(env):
    """Steps until the episode ends of a policy that needs velocities: it reads them off the state."""
    env.reset(seed=0)
    steps, over = 0, False
    while not over:
        position, speed, angle, turning = env.unwrapped.state
        lean = 0.05 * position + 0.1 * speed + angle + 0.5 * turning
        _, _, terminated, truncated, _ = env.step(int(lean > 0))
        steps, over = steps + 1, terminated or truncated
    return steps, terminated


def test_an_episode_in_which_the_pole_stands_ends_where_cartpoles_does():
    assert balanced(StatelessCartPole()) == (500, False)
    assert balanced(StatelessCartPole(max_episode_steps=40)) == (40, False)
    assert gymnasium.spec("CartPole-v1").max_episode_steps == 500


def test_it_can_be_filmed():
    env = StatelessCartPole(render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().ndim == 3
