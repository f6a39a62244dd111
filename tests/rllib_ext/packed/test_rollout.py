"""Rollouts against single environments that are played again; batches from crafted rollouts."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from packs import started
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.filter import RunningStat

from rllib_ext import PruningConfig, with_preprocessing
from rllib_ext.packed.distributions import Categorical
from rllib_ext.packed.network import StackedNetwork, build_module
from rllib_ext.packed.pack import Pack
from rllib_ext.packed.rollout import End, Rollout, batch_of


def test_a_rollout_is_what_happens_in_single_environments(packed_ppo):
    pack = started(packed_ppo("Pendulum-v1"), first_seed=20)
    collector = pack._collector
    rollouts = [collector.collect() for _ in range(2)]
    for member in range(2):
        (environment,) = np.random.SeedSequence(20 + member).generate_state(1)
        seeds = np.random.SeedSequence(int(environment)).generate_state(4)
        for env in range(4):
            single = gym.make("Pendulum-v1")
            observation, _ = single.reset(seed=int(seeds[env]))
            for rollout in rollouts:
                for t in range(16):
                    seen = rollout.observations[member, t, env]
                    np.testing.assert_allclose(seen.numpy(), observation, rtol=1e-4, atol=1e-5)
                    drawn = rollout.actions[member, t, env].numpy()
                    observation, reward, *_ = single.step(np.clip(2.0 * drawn, -2.0, 2.0))
                    assert float(rollout.rewards[member, t, env]) == pytest.approx(
                        reward, rel=1e-4, abs=1e-5
                    )


def test_actions_are_drawn_from_the_members_distributions(packed_ppo):
    pack = started(packed_ppo(train_batch_size_per_learner=4096))
    # One constant policy a member.
    pack.network.weights.zero_()
    for i, bias in enumerate((1.0, -2.0)):
        head = pack.network.part(pack.network.weights[i], "pi.net.mlp.0.bias")
        head.copy_(torch.tensor([bias, 0.0]))
        expected = float(torch.sigmoid(torch.tensor(-bias)))
        # 4,096 draws: four standard errors.
        share = pack._collector.collect().actions[i].float().mean()
        assert float(share) == pytest.approx(expected, abs=4 * 0.5 / 64)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a_member_acts_by_its_own_seed_and_rollout_in_both_number_formats(packed_ppo, env):
    ppo = packed_ppo(env, train_batch_size_per_learner=256)

    def rollouts(seeds, dtype):
        pack = Pack(ppo, len(seeds), dtype=dtype)
        for member, seed in enumerate(seeds):
            pruning = PruningConfig(final_sparsity=0.0, horizon=1000)
            pack.start(member, training={}, pruning=pruning, seed=seed)
        # Whatever it sees, one policy for all.
        pack.network.weights.zero_()
        found = [pack._collector.collect().actions for _ in range(2)]
        pack.close()
        return found

    one = rollouts((3, 4, 5), torch.float32)
    two = rollouts((5,), torch.float64)
    for alone, together in zip(two, one, strict=True):
        torch.testing.assert_close(together[2].double(), alone[0].double(), rtol=1e-6, atol=1e-6)
        assert not torch.equal(together[0], together[2])
    assert not torch.equal(*two)


def test_episodes_that_finish_are_counted_with_their_returns(packed_ppo):
    pack = started(packed_ppo(train_batch_size_per_learner=800))
    rollout = pack._collector.collect()
    for i in range(2):
        done = rollout.terminated[i] | rollout.truncated[i]
        # CartPole gives 1 a step: returns are lengths, up to each environment's last end.
        lengths = []
        for env in range(4):
            ends = np.flatnonzero(done[:, env].numpy())
            lengths += list(np.diff(np.concatenate([[-1], ends])))
        assert sorted(rollout.returns[i]) == sorted(map(float, lengths))


class Counting(gym.Env):
    """Shows how many of its five steps are over; every other episode is cut, the others end."""

    observation_space = gym.spaces.Box(0.0, 10.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config=None):
        self.episode = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.episode = 0, self.episode + 1
        return np.array([self.count], np.float32), {}

    def step(self, action):
        self.count += 1
        over, cut = self.count == 5, bool(self.episode % 2)
        return np.array([self.count], np.float32), 1.0, over and not cut, over and cut, {}


def test_a_member_s_filter_sees_what_rllib_s_sees_last_observations_included(packed_ppo):
    # Three steps after an end: RLlib resets an environment in the step after its last one.
    steps = 4 * 98
    ppo = packed_ppo(
        Counting,
        runners={"env_to_module_connector": lambda *_: MeanStdFilter()},
        train_batch_size_per_learner=steps,
    )
    runner = SingleAgentEnvRunner(config=ppo)
    runner.sample(num_timesteps=steps, explore=True)
    (connector,) = (c for c in runner._env_to_module if isinstance(c, MeanStdFilter))
    expected = RunningStat.from_state(connector.get_state()[None]["running_stats"][0])
    runner.stop()
    pack = started(ppo)
    rollout = pack._collector.collect()
    ended, cut = int(rollout.terminated[1].sum()), int(rollout.truncated[1].sum())
    assert (min(ended, cut), ended + cut, len(rollout.ends)) == (36, 76, 2 * (ended + cut))
    found = RunningStat.from_state(pack._filters.state(1)[None]["running_stats"][0])
    # Four first observations, one a step, and one a new episode.
    assert found.num_pushes == expected.num_pushes == 4 + steps + ended + cut
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-6)
    np.testing.assert_allclose(found.std, expected.std, rtol=1e-6)


def test_members_see_the_frames_that_rllib_s_policies_see(packed_ppo):
    ppo = with_preprocessing(
        packed_ppo(Counting, train_batch_size_per_learner=4 * 24), frame_stack=3
    )
    runner = SingleAgentEnvRunner(config=ppo)
    episodes = runner.sample(num_timesteps=4 * 24, explore=True)
    runner.stop()
    by_count = {}
    for episode in episodes:
        # After an episode's end the environment's own count says where it stands.
        by_count |= {float(seen[-1]): seen.tolist() for seen in episode.get_observations()}
    pack = started(ppo)
    rollout = pack._collector.collect()
    for seen in rollout.observations.reshape(-1, 3).numpy():
        assert seen.tolist() == by_count[float(seen[-1])]
    assert len(rollout.ends) > 10
    for end in rollout.ends:
        assert end.observation.tolist() == by_count[5.0] == [3.0, 4.0, 5.0]
    following = rollout.following.reshape(-1, 3).numpy()
    for seen in following:
        assert seen.tolist() == by_count[float(seen[-1])]


def test_a_cut_episode_is_bootstrapped_with_its_own_last_state(packed_ppo):
    spec = packed_ppo().get_rl_module_spec(env=gym.make("CartPole-v1"))
    network = StackedNetwork([build_module(spec, seed).double() for seed in range(2)])
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, 2)

    def draw(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    last = np.array([0.3, -0.2, 0.1, 0.5], dtype=np.float32)
    truncated = torch.zeros(shape, dtype=torch.bool)
    truncated[1, 1, 0] = True
    terminated = torch.zeros(shape, dtype=torch.bool)
    terminated[0, 2, 1] = True
    rollout = Rollout(
        observations=draw(*shape, 4),
        actions=torch.zeros(shape, dtype=torch.int64),
        inputs=draw(*shape, 2),
        rewards=draw(*shape),
        terminated=terminated,
        truncated=truncated,
        following=draw(2, 2, 4),
        ends=(End(1, 1, 0, last), End(0, 2, 1, last)),
        returns=((), ()),
    )
    gamma = torch.tensor([0.9, 0.8], dtype=torch.float64)
    # λ = 0: a target is reward + γ · value of the next state.
    batch = batch_of(network, Categorical, rollout, gamma, torch.zeros(2, dtype=torch.float64))
    targets = batch.targets.view(shape)

    def value(member, observation):
        module = network.modules[member]
        seen = torch.as_tensor(observation, dtype=torch.float64).view(1, -1)
        return float(module.compute_values({"obs": seen}).detach())

    rewards = rollout.rewards
    expected = float(rewards[1, 1, 0]) + 0.8 * value(1, last)
    assert float(targets[1, 1, 0]) == pytest.approx(expected)
    assert float(targets[0, 2, 1]) == pytest.approx(float(rewards[0, 2, 1]))
    inside = float(rewards[0, 0, 1]) + 0.9 * value(0, rollout.observations[0, 1, 1])
    assert float(targets[0, 0, 1]) == pytest.approx(inside)
    end = float(rewards[0, 2, 0]) + 0.9 * value(0, rollout.following[0, 0])
    assert float(targets[0, 2, 0]) == pytest.approx(end)
