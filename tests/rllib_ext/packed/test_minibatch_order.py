"""The order of what members train on, and the advantages that go by it, against RLlib's own pipeline."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import scipy.stats
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.minibatch_utils import MiniBatchCyclicIterator

from rllib_ext import with_preprocessing
from rllib_ext.packed.distributions import Categorical
from rllib_ext.packed.draws import Draws
from rllib_ext.packed.minibatch_order import MinibatchOrder, in_time
from rllib_ext.packed.network import StackedNetwork, build_module
from rllib_ext.packed.rewards import Rewards
from rllib_ext.packed.rollout import End, Rollout, batch_of
from rllib_ext.rl.preprocess.scale_rewards import ScaleRewards

MODULE = "default_policy"
MEMBERS, STEPS, ENVS = 2, 12, 3
SIZE = STEPS * ENVS


def order_of(seeds, epochs, length, minibatch):
    orders = [torch.arange(own) + 7 for own in np.broadcast_to(length, len(seeds))]
    everyone = slice(0, len(seeds))
    return MinibatchOrder(draws_of(seeds), everyone, epochs, orders, minibatch)


def draws_of(seeds):
    draws = Draws(len(seeds))
    for member, seed in enumerate(seeds):
        draws.restart(member, seed)
    return draws


def pieces_of(ended):
    """Episodes and cut pieces of one member as RLlib's EnvRunner returns them: first, last step, env."""
    over, cut = [], []
    for env in range(ended.shape[1]):
        start = 0
        for step in np.flatnonzero(ended[:, env]):
            over.append((start, step, env))
            start = step + 1
        if start < len(ended):
            cut.append((start, len(ended) - 1, env))
    return sorted(over, key=lambda piece: (piece[1], piece[2])) + cut


def random_rollout(seed):
    rng = np.random.default_rng(seed)
    shape = (MEMBERS, STEPS, ENVS)
    over = rng.random(shape)
    terminated, truncated = over < 0.12, (over >= 0.12) & (over < 0.2)
    # One ends with the rollout: nothing of the next episode is there yet.
    terminated[0, -1, 1] = True
    truncated[0, -1, 1] = False

    def draw(*size):
        return torch.from_numpy(rng.normal(size=size).astype(np.float32))

    ends = [
        End(m, t, env, draw(4).numpy())
        for t in range(STEPS)
        for m in range(MEMBERS)
        for env in range(ENVS)
        if terminated[m, t, env] or truncated[m, t, env]
    ]
    return Rollout(
        observations=draw(*shape, 4),
        actions=torch.from_numpy(rng.integers(2, size=shape)),
        inputs=draw(*shape, 2),
        rewards=draw(*shape),
        terminated=torch.from_numpy(terminated),
        truncated=torch.from_numpy(truncated),
        following=draw(MEMBERS, ENVS, 4),
        ends=tuple(ends),
        returns=((),) * MEMBERS,
    )


def episodes_of(rollout, member):
    ends = {(e.step, e.env): e.observation for e in rollout.ends if e.member == member}
    ended = (rollout.terminated | rollout.truncated)[member].numpy()
    for start, last, env in pieces_of(ended):
        part = slice(start, last + 1)
        after = ends.get((last, env), rollout.following[member, env].numpy())
        inputs = rollout.inputs[member, part, env]
        actions = rollout.actions[member, part, env]
        yield SingleAgentEpisode(
            observations=[*rollout.observations[member, part, env].numpy(), after],
            actions=actions.tolist(),
            rewards=rollout.rewards[member, part, env].tolist(),
            terminated=bool(rollout.terminated[member, last, env]),
            truncated=bool(rollout.truncated[member, last, env]),
            extra_model_outputs={
                Columns.ACTION_DIST_INPUTS: list(inputs.numpy()),
                Columns.ACTION_LOGP: Categorical(inputs).log_probability(actions).tolist(),
            },
            observation_space=gym.spaces.Box(-10.0, 10.0, (4,), np.float32),
            action_space=gym.spaces.Discrete(2),
            len_lookback_buffer=0,
        )


@pytest.mark.parametrize("scaled", [{}, {"normalize": "rewards", "clip_reward": 0.6}])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_a_member_trains_on_is_what_rllib_s_learner_makes_of_its_episodes(
    packed_ppo, seed, scaled
):
    gammas, lambdas = (0.99, 0.8), (0.95, 0.5)
    spec = packed_ppo().get_rl_module_spec(env=gym.make("CartPole-v1"))
    network = StackedNetwork([build_module(spec, 10 * seed + i) for i in range(MEMBERS)])
    raw = rollout = random_rollout(seed)
    connector = ScaleRewards(gamma=0.95, clip=0.6) if scaled else None
    seen = Rewards(connector, MEMBERS, ENVS).of(rollout, range(MEMBERS))
    assert not scaled or not torch.equal(seen, rollout.rewards)
    rollout = dataclasses.replace(rollout, rewards=seen)
    batch = batch_of(network, Categorical, rollout, torch.tensor(gammas), torch.tensor(lambdas))
    for member in range(MEMBERS):
        # The unit of rewards is the same, whatever a member's own discount is.
        ppo = with_preprocessing(packed_ppo(gamma=0.95), **scaled)
        ppo.training(gamma=gammas[member], lambda_=lambdas[member])
        learner = ppo.build_learner(env=gym.make("CartPole-v1"))
        learner.module[MODULE].load_state_dict(network.modules[member].state_dict())
        expected = learner._learner_connector(
            rl_module=learner.module,
            batch={},
            episodes=list(episodes_of(raw, member)),
            shared_data={},
        )[MODULE]
        order = rollout.orders[member]
        counts = order < SIZE
        mask = torch.as_tensor(expected[Columns.LOSS_MASK]).bool()
        assert counts.tolist() == mask.tolist()
        assert ENVS < int((~mask).sum()) < SIZE
        assert sorted(order[counts].tolist()) == list(range(SIZE))
        for name, own in (
            (Columns.OBS, batch.observations),
            (Columns.ACTIONS, batch.actions),
            (Columns.ACTION_LOGP, batch.log_probabilities),
            (Postprocessing.VALUE_TARGETS, batch.targets),
            (Postprocessing.ADVANTAGES, batch.advantages),
        ):
            theirs = torch.as_tensor(expected[name])[mask]
            mine = own[member][order[counts]]
            torch.testing.assert_close(mine, theirs.to(mine), rtol=1e-5, atol=1e-5)


def test_a_stand_in_stands_behind_the_step_that_its_piece_ends_with():
    ended = np.random.default_rng(3).random((4, 20, 5)) < 0.2
    for member, order in enumerate(in_time(torch.from_numpy(ended))):
        expected = []
        for start, last, env in pieces_of(ended[member]):
            expected += [t * 5 + env for t in range(start, last + 1)]
            expected.append(100 + last * 5 + env)
        assert order.tolist() == expected


def rllib_s_minibatches(positions, epochs, minibatch):
    batch = SampleBatch({"position": np.array(positions)})
    iterator = MiniBatchCyclicIterator(
        MultiAgentBatch({"policy": batch}, len(positions)),
        num_epochs=epochs,
        minibatch_size=minibatch,
        shuffle_batch_per_epoch=epochs > 1,
    )
    return [part["policy"]["position"].tolist() for part in iterator]


@pytest.mark.parametrize("epochs", [1, 2, 3])
@pytest.mark.parametrize("minibatch", [4, 5, 7, 12])
def test_minibatches_are_those_of_rllib(epochs, minibatch):
    expected = rllib_s_minibatches(list(range(7, 19)), epochs, minibatch)
    order = order_of((1,), (epochs,), 12, minibatch)
    found = [order.minibatch(index)[0].tolist() for index in range(order.counts[0])]
    assert len(found) == len(expected)
    first = 12 // minibatch
    assert found[:first] == expected[:first]
    # What is shuffled is no longer the same, but its first epoch's end is.
    seen = [position for part in found for position in part]
    assert seen[:12] == [position for part in expected for position in part][:12]
    for epoch in range(1, epochs):
        assert sorted(seen[12 * epoch : 12 * (epoch + 1)]) == list(range(7, 19))
        assert seen[12 * epoch : 12 * (epoch + 1)] != seen[:12]
    # A last minibatch is filled up; a single epoch isn't shuffled, nor is what fills it.
    filled = seen[12 * epochs :]
    assert len(filled) == len(set(filled)) == sum(map(len, expected)) - 12 * epochs
    if epochs == 1:
        assert found == expected


def test_every_step_is_seen_once_an_epoch_by_members_with_epochs_of_their_own():
    order = order_of((1, 2, 3), (3, 1, 2), 12, minibatch=4)
    assert order.counts == [9, 3, 6]
    for row, epochs in enumerate((3, 1, 2)):
        for epoch in range(epochs):
            parts = [order.minibatch(3 * epoch + k)[row] for k in range(3)]
            assert sorted(torch.cat(parts).tolist()) == list(range(7, 19))


def test_members_with_more_stand_ins_have_more_minibatches():
    order = order_of((1, 2, 3), (2, 2, 2), (12, 13, 16), minibatch=4)
    assert order.counts == [6, 7, 8]
    for row, length in enumerate((12, 13, 16)):
        parts = [order.minibatch(k)[row] for k in range(order.counts[row])]
        seen = torch.cat(parts).tolist()
        everything = list(range(7, 7 + length))
        assert seen[:length] == everything
        assert sorted(seen[length : 2 * length]) == everything


def test_minibatches_run_on_over_the_end_of_an_epoch():
    order = order_of((5,), (2,), 10, minibatch=4)
    assert order.counts == [5]
    seen = torch.cat([order.minibatch(k)[0] for k in range(5)]).tolist()
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(7, 17))
    assert seen[:10] != seen[10:]


def test_a_last_minibatch_is_filled_from_the_next_epoch():
    # 10 in minibatches of 4: 1 epoch takes 3, 3 epochs take 8, the last one with 2 of the next epoch.
    order = order_of((5, 6), (1, 3), 10, minibatch=4)
    assert order.counts == [3, 8]
    assert order.minibatch(2)[0].tolist() == [15, 16, 7, 8]
    last = order.minibatch(7)[1].tolist()
    assert len(last) == 4
    assert set(last) <= set(range(7, 17))
    assert last[2] != last[3]


def test_a_member_s_order_is_its_own():
    together = order_of((1, 2), (2, 2), 8, minibatch=8)
    alone = order_of((2,), (2,), 8, minibatch=8)
    for index in range(2):
        assert torch.equal(together.minibatch(index)[1], alone.minibatch(index)[0])
    assert not torch.equal(together.minibatch(1)[0], together.minibatch(1)[1])


def whole(order, row):
    return torch.cat([order.minibatch(k)[row] for k in range(order.counts[row])]).tolist()


def test_others_with_longer_batches_or_more_epochs_change_no_order():
    alone = whole(order_of((2,), (3,), 10, 4), 0)
    for seeds, epochs, lengths in (
        ((1, 2, 3), (6, 3, 1), (30, 10, 11)),
        ((2, 9), (3, 2), (10, 10)),
        ((5, 4, 3, 2), (1, 1, 1, 3), (13, 12, 11, 10)),
    ):
        assert whole(order_of(seeds, epochs, lengths, 4), seeds.index(2)) == alone
    # Nor does it matter that others have ceased to train.
    orders = [torch.arange(10) + 7] * 2
    some = MinibatchOrder(draws_of((8, 2, 7, 3)), torch.tensor([1, 3]), (3, 3), orders, 4)
    assert whole(some, 0) == alone


def test_each_epoch_and_each_rollout_is_shuffled_anew_and_without_preference():
    length, rollouts = 5, 2000
    draws, seen = draws_of((3,)), []
    for _ in range(rollouts):
        draws.advance()
        order = MinibatchOrder(draws, slice(0, 1), (3,), [torch.arange(length)], length)
        seen.append([order.minibatch(k)[0].tolist() for k in range(3)])
    epochs = np.array(seen)
    assert (epochs[:, 0] == np.arange(length)).all()
    permutations = np.concatenate([epochs[:, 1], epochs[:, 2]])
    assert (np.sort(permutations, axis=1) == np.arange(length)).all()
    assert (epochs[:, 1] == epochs[:, 2]).all(axis=1).mean() < 0.03
    # All 120 orders are equally likely.
    _, counts = np.unique(permutations, axis=0, return_counts=True)
    assert len(counts) == 120
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_equal_words_still_give_each_step_once(monkeypatch):
    monkeypatch.setattr(
        Draws, "words", lambda *_, parts, **__: torch.full((1, parts, 12), 2**32 - 1)
    )
    seen = whole(order_of((1,), (2,), 12, 4), 0)
    assert sorted(seen[12:]) == list(range(7, 19))
