"""Members as policies: in use, on disk, and in plain RLlib."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch
from packs import started
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_ext import PruningConfig, load_policy
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.envs.minatar import MinAtar
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.policy.acting import DirectPolicy
from rllib_ext.pruning.masks import load_masks

PRUNING = PruningConfig(horizon=10 * 64, final_sparsity=0.5, begin=0.0, end=0.5)


def trained(ppo):
    return started(ppo, iterations=8, pruning=PRUNING)


def stacked_inputs(pack, member, observations):
    seen = torch.as_tensor(np.stack(observations)).flatten(1).expand(len(pack.network), -1, -1)
    return pack.network.act(pack.network.parts(pack.network.weights), seen)[member]


def test_a_saved_member_acts_as_it_does_in_the_pack(kind, tmp_path):
    ppo, space, action_space = kind
    pack = trained(ppo)
    pack.save_policy(1, tmp_path / "p", {"sparsity": 0.5})
    policy = load_policy(tmp_path / "p")
    discrete = isinstance(action_space, gym.spaces.Discrete)
    assert isinstance(policy, DirectPolicy)
    rng = np.random.default_rng(0)
    observations = [rng.normal(size=space.shape).astype(np.float32) for _ in range(40)]
    policy.begin(range(40))
    actions = policy.act(range(40), observations, [0.0] * 40)
    inputs = stacked_inputs(pack, 1, observations)
    if discrete:
        assert actions == inputs.argmax(-1).tolist()
    else:
        expected = np.clip(2.0 * inputs[:, :1].numpy(), -2.0, 2.0)
        np.testing.assert_allclose(np.stack(actions), expected, rtol=1e-5, atol=1e-6)
    module = RLModule.from_checkpoint(tmp_path / "p" / "rl_module")
    seen = torch.as_tensor(np.stack(observations))
    with torch.no_grad():
        found = module.forward_inference({Columns.OBS: seen})[Columns.ACTION_DIST_INPUTS]
    torch.testing.assert_close(found, inputs)
    # As RLlib's EnvRunners have it: without the value function.
    assert not hasattr(module, "vf")
    weights = dict(pack.network.modules[1].named_parameters())
    prunable = {name: weights[name] for name in pack.pruning.pruner(1).masks}
    saved = load_masks(tmp_path / "p" / "masks.npz", prunable)
    assert all(torch.equal(saved[n], m) for n, m in pack.pruning.pruner(1).masks.items())


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def with_filter(packed_ppo):
    runners = {"env_to_module_connector": lambda env, spaces, device: MeanStdFilter()}
    return packed_ppo("Pendulum-v1", runners=runners)


@pytest.mark.parametrize("filtered", [False, True])
def test_members_in_turn_are_written_as_rllib_writes_each(packed_ppo, tmp_path, filtered):
    pack = trained(with_filter(packed_ppo) if filtered else packed_ppo())
    for turn, member in enumerate((1, 0, 1)):
        if turn == 2:
            pack.train()
        metadata = {"sparsity": 0.1 * turn}
        pack.save_policy(member, tmp_path / "p", metadata)
        masks = pack.pruning.pruner(member).masks
        pack.policy(member).save(masks, tmp_path / "q", metadata)
        found, expected = files(tmp_path / "p"), files(tmp_path / "q")
        assert found.keys() == expected.keys()
        assert len(found) > 20
        weights = "rl_module/module_state.pkl"
        loaded, wanted = (pickle.loads(each.pop(weights)) for each in (found, expected))
        assert loaded.keys() == wanted.keys()
        assert all(np.array_equal(loaded[name], wanted[name]) for name in wanted)
        assert found == expected
    assert not (tmp_path / "p.part").exists()


def test_a_saved_policy_is_a_copy_that_training_leaves_alone(packed_ppo):
    pack = trained(packed_ppo())
    parts = pack.policy(0)
    before = {n: p.detach().clone() for n, p in parts.module.named_parameters()}
    pack.train()
    assert all(torch.equal(p.detach(), before[n]) for n, p in parts.module.named_parameters())


def test_a_member_learns_cartpole_and_evaluates_as_any_policy_does(packed_ppo):
    ppo = packed_ppo(
        train_batch_size_per_learner=512,
        minibatch_size=128,
        num_epochs=6,
        lr=5e-3,
        grad_clip=0.5,
        vf_clip_param=1e4,
    )
    pruning = PruningConfig(horizon=40 * 512, final_sparsity=0.8, begin=0.2, end=0.7)
    pack = started(ppo, pruning=pruning)
    for _ in range(40):
        results = pack.train()
    evaluator = Evaluator(env_maker(ppo))
    returns = [evaluator.run(pack.policy(i).policy(), range(10)).mean for i in range(2)]
    evaluator.close()
    assert min(returns) > 150.0
    assert results[0]["pruning"]["sparsity"] == pytest.approx(0.8, abs=2e-3)


def test_a_member_s_filter_goes_with_its_policy(packed_ppo, tmp_path):
    ppo = with_filter(packed_ppo)
    pack = trained(ppo)
    folder = tmp_path / "p"
    pack.save_policy(1, folder, {})
    policy = load_policy(folder)
    observations = [np.array([0.6, 0.8, 3.0], dtype=np.float32)] * 2
    statistics = pack._filters.state(1)
    for _ in range(2):
        policy.begin(range(2))
        actions = policy.act(range(2), observations, [0.0] * 2)
        reference = MeanStdFilter()
        reference.input_observation_space = gym.make("Pendulum-v1").observation_space
        reference.set_state(statistics)
        seen = reference._filters[None](observations[0], update=False)
        mean = stacked_inputs(pack, 1, [seen, seen])[:, :1].numpy()
        np.testing.assert_allclose(np.stack(actions), np.clip(2 * mean, -2, 2), rtol=1e-4)
    # It is member 1's, and it goes along when a member is copied.
    assert not np.allclose(pack._filters._means[0], pack._filters._means[1])
    pack.start(0, training={}, pruning=PRUNING, seed=5, state=pack.state(1))
    assert pack._filters._counts[0] == pack._filters._counts[1] + ppo.num_envs_per_env_runner


def test_a_member_plays_breakout_as_its_saved_policy_does(packed_ppo, tmp_path):
    model = {
        "conv_filters": [[16, 3, 1]],
        "conv_activation": "relu",
        "head_fcnet_hiddens": [64],
        "vf_share_layers": True,
    }
    ppo = packed_ppo(MinAtar, model).environment(env_config={"max_episode_steps": 60})
    pruning = PruningConfig(horizon=3 * 64, final_sparsity=0.8, begin=0.0, end=0.9)
    pack = started(ppo, pruning=pruning, iterations=3)
    assert pack.pruning.pruner(1).report()["sparsity"] == pytest.approx(0.8, abs=1e-3)
    pack.save_policy(1, tmp_path / "p", {})
    evaluator = Evaluator(env_maker(ppo))
    expected = evaluator.run(load_policy(tmp_path / "p"), range(6))
    evaluator.close()
    assert pack.evaluate({1: range(6)})[1] == expected
