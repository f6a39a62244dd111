"""What `with_preprocessing` adds to RLlib's PPO: seen by the policy, learned from, never reported."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations, MeanStdFilter
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rllib_ext import PruningConfig, with_preprocessing, with_pruning
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.preprocess.scale_rewards import ScaleRewards
from rllib_ext.rl.preprocess.stack_frames import StackFrames

STEPS = 4 * 30


class Counting(gym.Env):
    """Shows how many of its five steps are over; each gives 100."""

    observation_space = gym.spaces.Box(0.0, 10.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config=None):
        self.count = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self.seen(), {}

    def step(self, action):
        self.count += 1
        return self.seen(), 100.0, self.count == 5, False, {}

    def seen(self):
        return np.array([self.count, 10 - self.count], np.float32)


class Pictures(Counting):
    """The same as images of two channels."""

    observation_space = gym.spaces.Box(0.0, 10.0, (3, 4, 2), np.float32)

    def seen(self):
        return np.broadcast_to(super().seen(), (3, 4, 2)).copy()


def ppo_of(env=Counting, **preprocessing):
    ppo = (
        PPOConfig()
        .environment(env)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=4)
        .training(train_batch_size_per_learner=STEPS, minibatch_size=STEPS, num_epochs=1, gamma=0.9)
        .rl_module(model_config={"fcnet_hiddens": [8], "conv_filters": [[4, 3, 1]]})
    )
    return with_preprocessing(ppo, **preprocessing)


def sampled(ppo, steps=STEPS):
    runner = SingleAgentEnvRunner(config=ppo)
    return runner, runner.sample(num_timesteps=steps, explore=True)


def columns(ppo, episodes):
    env = ppo.env()
    learner = ppo.build_learner(
        env=env, spaces={"__env__": (env.observation_space, env.action_space)}
    )
    batch = learner._learner_connector(
        rl_module=learner.module, batch={}, episodes=episodes, shared_data={}
    )[DEFAULT_MODULE_ID]
    return learner, batch


@pytest.mark.parametrize("env", [Counting, Pictures])
def test_a_policy_sees_the_last_frames_and_zeros_before_the_first(env):
    torch.set_num_threads(1)
    _, episodes = sampled(ppo_of(env, frame_stack=3))
    shape = env.observation_space.shape
    for episode in episodes:
        seen = episode.get_observations()
        counts = seen.reshape(len(seen), -1, 3, 2)[:, 0, :, 0]
        assert seen.shape[1:] == (*shape[:-1], 6)
        for at, row in enumerate(counts):
            expected = [max(row[2] - back, 0) for back in (2, 1, 0)]
            np.testing.assert_array_equal(row, expected)
            assert at == 0 or row[2] == counts[at - 1][2] + 1
    # Pieces of an episode that a rollout cuts go on where they were.
    assert len(episodes) > 20


def test_frames_are_normalised_before_they_are_stacked():
    runner, episodes = sampled(ppo_of(normalize="observations", frame_stack=2, clip_obs=0.9))
    kinds = [type(c) for c in runner._env_to_module.connectors]
    assert kinds[:2] == [MeanStdFilter, StackFrames]
    (episode,) = [e for e in episodes if e.t_started == 0 and len(e) == 5][-1:]
    seen = episode.get_observations()
    np.testing.assert_array_equal(seen[1:, :2], seen[:-1, 2:])
    assert seen.max() == np.float32(0.9)
    assert runner.module.observation_space == gym.spaces.Box(-0.9, 0.9, (4,), np.float32)


def test_a_learner_learns_from_scaled_rewards_and_episodes_keep_theirs():
    ppo = ppo_of(normalize="rewards", clip_reward=0.5)
    runner, episodes = sampled(ppo)
    learner, batch = columns(ppo, episodes)
    (scaling,) = (c for c in learner._learner_connector if isinstance(c, ScaleRewards))
    returns = [sum(100.0 * 0.9**i for i in range(t)) for t in range(1, 6)]
    # Every environment plays its five steps over and over.
    assert scaling.get_state()["mean"] == pytest.approx(np.mean(returns), rel=1e-5)
    assert scaling.get_state()["variance"] == pytest.approx(np.var(returns), rel=1e-4)
    mask = torch.as_tensor(batch[Columns.LOSS_MASK]).bool()
    assert torch.as_tensor(batch[Columns.REWARDS])[mask].unique().tolist() == [0.5]
    assert {float(r) for e in episodes for r in e.get_rewards(slice(0, len(e) - 1))} == {100.0}
    assert runner.get_metrics()["episode_return_mean"].peek() == 500.0


def test_a_return_goes_on_from_rollout_to_rollout():
    ppo = ppo_of(normalize="rewards")
    runner, episodes = sampled(ppo, steps=4 * 3)
    learner, _ = columns(ppo, episodes)
    (scaling,) = (c for c in learner._learner_connector if isinstance(c, ScaleRewards))
    learner._learner_connector(
        rl_module=learner.module,
        batch={},
        episodes=runner.sample(num_timesteps=4 * 2, explore=True),
        shared_data={},
    )
    returns = [sum(100.0 * 0.9**i for i in range(t)) for t in range(1, 6)]
    assert scaling.get_state()["count"] == pytest.approx(20, abs=0.001)
    assert scaling.get_state()["mean"] == pytest.approx(np.mean(returns), rel=1e-5)


def test_connectors_that_are_there_come_first():
    before = PPOConfig().env_runners(env_to_module_connector=lambda *_: FlattenObservations())
    built = with_preprocessing(before, normalize=True, frame_stack=2)
    first, *rest = built._env_to_module_connector(None, None, None)
    # RLlib's is a partial call of the class.
    assert isinstance(first, FlattenObservations.func)
    assert [type(c) for c in rest] == [MeanStdFilter, StackFrames]
    assert before._learner_connector is None


def test_nothing_asked_for_changes_nothing():
    plain = with_preprocessing(PPOConfig())
    assert plain._env_to_module_connector is None
    assert plain._learner_connector is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"normalize": "all"},
        {"frame_stack": 0},
        {"frame_stack": 2.0},
        {"frame_stack": True},
        {"clip_obs": 0.0},
        {"clip_reward": -1.0},
        {"clip_reward": float("inf")},
    ],
)
def test_values_that_mean_nothing_are_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=rf"{name} = .*expected"):
        with_preprocessing(PPOConfig(), **wrong)


class Discrete(Counting):
    """Shows a number."""

    observation_space = gym.spaces.Discrete(6)

    def seen(self):
        return self.count


def test_what_has_no_frames_is_refused_with_the_mend():
    with pytest.raises(ConfigError, match=r"frame_stack = 2.*FlattenObservations"):
        SingleAgentEnvRunner(config=ppo_of(Discrete, frame_stack=2))


class Bytes(Counting):
    """Shows bytes."""

    observation_space = gym.spaces.Box(0, 10, (2,), np.uint8)

    def seen(self):
        return super().seen().astype(np.uint8)


@pytest.mark.parametrize("wanted", [{"normalize": "observations"}, {"clip_obs": 1.0}])
def test_whole_numbers_cannot_be_normalised(wanted):
    with pytest.raises(ConfigError, match="DtypeObservation"):
        SingleAgentEnvRunner(config=ppo_of(Bytes, **wanted))


class Parts(Counting):
    """Shows the same in parts."""

    observation_space = gym.spaces.Dict({"seen": Counting.observation_space})

    def seen(self):
        return {"seen": super().seen()}


class Places(Parts):
    """Shows the same in places."""

    observation_space = gym.spaces.Tuple([Counting.observation_space])

    def seen(self):
        return (super().seen()["seen"],)


@pytest.mark.parametrize("env", [Parts, Places])
@pytest.mark.parametrize("wanted", [{"normalize": "observations"}, {"clip_obs": 1.0}])
def test_observations_in_parts_are_normalised_once_they_are_flat(env, wanted):
    with pytest.raises(ConfigError, match=r"normalize and clip_obs: .*FlattenObservations"):
        SingleAgentEnvRunner(config=ppo_of(env, **wanted))
    flat = ppo_of(env).env_runners(env_to_module_connector=lambda *_: FlattenObservations())
    _, episodes = sampled(with_preprocessing(flat, **wanted))
    assert {episode.get_observations().shape[1:] for episode in episodes} == {(2,)}


def test_several_learners_would_scale_apart_and_are_refused():
    ppo = ppo_of(normalize=True).learners(num_learners=2)
    with pytest.raises(ConfigError, match=r"num_learners = 2.*normalize: observations"):
        with_pruning(ppo, PruningConfig(horizon=1000))
    for fine in (ppo_of(normalize="observations"), ppo_of(clip_reward=1.0)):
        with_pruning(fine.learners(num_learners=2), PruningConfig(horizon=1000))


@pytest.mark.ray
def test_a_restored_algorithm_goes_on_with_its_scales_and_statistics(ray_cluster, tmp_path):
    ppo = with_pruning(ppo_of(normalize=True), PruningConfig(horizon=10_000))
    algorithm = ppo.build_algo()
    for _ in range(3):
        result = algorithm.train()
    # Whatever the Learner is given.
    assert result["env_runners"]["episode_return_mean"] == 500.0

    def statistics(of):
        learner = of.learner_group._learner
        return learner._rewards_state(), str(of.env_runner._env_to_module.get_state())

    algorithm.save_to_path(tmp_path / "saved")
    other = ppo.build_algo()
    assert statistics(other) != statistics(algorithm)
    other.restore_from_path(tmp_path / "saved")
    assert statistics(other) == statistics(algorithm)
    assert statistics(other)[0]["count"] > 3 * STEPS - 1
    algorithm.stop()
    other.stop()
