import gymnasium
import numpy as np
import pytest

from benchmarks.shared.one_by_one import without_native
from rllib_ext.envs.native.registry import native_of


@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1", "Pendulum-v1"])
def test_the_same_environment_under_another_name_has_no_native_version(env):
    name = without_native(env)
    assert native_of(lambda: gymnasium.make(env)) is not None
    assert native_of(lambda: gymnasium.make(name)) is None
    ours, own = (gymnasium.make(n, disable_env_checker=True) for n in (name, env))
    assert ours.spec.max_episode_steps == own.spec.max_episode_steps
    assert np.array_equal(ours.reset(seed=1)[0], own.reset(seed=1)[0])
    own.action_space.seed(0)
    for _ in range(20):
        action = own.action_space.sample()
        for one, other in zip(ours.step(action)[:4], own.step(action)[:4], strict=True):
            assert np.array_equal(one, other)
