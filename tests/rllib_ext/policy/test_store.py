"""Policies in use and on disk act as RLlib's own EnvRunner does."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
from ray.rllib.connectors.env_to_module import (
    FlattenObservations,
    MeanStdFilter,
    PrevActionsPrevRewards,
)
from ray.rllib.connectors.env_to_module.frame_stacking import FrameStackingEnvToModule
from ray.rllib.connectors.learner.frame_stacking import FrameStackingLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchDeterministic,
)
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec

from rllib_ext import PruningConfig, load_policy, with_pruning
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.policy.acting import ConnectorPolicy, DirectPolicy
from rllib_ext.policy.store import (
    METADATA,
    PARTS,
    compressed_size,
    parts_of,
    policy_of,
    save_policy,
)
from rllib_ext.pruning.errors import CheckpointError
from rllib_ext.pruning.masks import load_masks
from rllib_ext.rl.callback import masks_of

pytestmark = pytest.mark.ray

SEEDS = range(500, 506)


class Recorded(gymnasium.Wrapper):
    """Logs what the environment itself shows and is given: one list of steps an episode."""

    episodes = None

    def __init__(self, config):
        super().__init__(gymnasium.make(config["id"], **config.get("arguments", {})))

    def reset(self, **kwargs):
        observation, info = super().reset(**kwargs)
        if Recorded.episodes is not None:
            self.steps = [[observation, 0.0, None]]
            Recorded.episodes.append(self.steps)
        return observation, info

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        if Recorded.episodes is not None:
            self.steps[-1][2] = action
            self.steps.append([observation, reward, None])
        return observation, reward, terminated, truncated, info


class Falling(gymnasium.Env):
    """A ball falls through a picture of 8 × 8; the paddle below must be where it lands."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (8, 8, 1), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.row, self.drift = 0, int(self.np_random.integers(-1, 2))
        self.column, self.paddle = (int(c) for c in self.np_random.integers(0, 8, 2))
        return self.picture(), {}

    def step(self, action):
        self.row += 1
        self.column = (self.column + self.drift) % 8
        self.paddle = int(np.clip(self.paddle + int(action) - 1, 0, 7))
        near = 1.0 - abs(self.paddle - self.column) / 8
        return self.picture(), near, self.row == 7, False, {}

    def picture(self):
        picture = np.zeros((8, 8, 1), np.float32)
        picture[self.row, self.column] = picture[7, self.paddle] = 1.0
        return picture


gymnasium.register("Falling-v0", Falling)


def plain(ppo):
    return ppo


def lstm(ppo):
    return ppo.rl_module(
        model_config={
            "fcnet_hiddens": [16],
            "use_lstm": True,
            "lstm_cell_size": 16,
            "max_seq_len": 8,
        }
    )


def frames(ppo):
    ppo.environment(Recorded, env_config={"id": "Falling-v0"})
    ppo.rl_module(model_config={"conv_filters": [[4, 3, 2], [8, 3, 2]]})
    ppo.env_runners(
        env_to_module_connector=lambda env, spaces, device: FrameStackingEnvToModule(num_frames=3)
    )
    return ppo.training(
        learner_connector=lambda observations, actions: FrameStackingLearner(num_frames=3)
    )


def mean_std(ppo):
    return ppo.env_runners(env_to_module_connector=lambda env, spaces, device: MeanStdFilter())


def memories(ppo):
    """The module also sees the last action and the last reward."""
    return ppo.env_runners(
        env_to_module_connector=lambda env, spaces, device: [
            PrevActionsPrevRewards(n_prev_actions=2, n_prev_rewards=1),
            FlattenObservations(),
        ]
    )


def pendulum(ppo):
    arguments = {"max_episode_steps": 30}
    return ppo.environment(Recorded, env_config={"id": "Pendulum-v1", "arguments": arguments})


class Contrary(TorchCategorical):
    """Where nothing is drawn, the least likely action is taken."""

    def to_deterministic(self):
        return TorchDeterministic(loc=self.logits.argmin(dim=-1))


class ContraryCatalog(PPOCatalog):
    """Gives RLlib's networks another action distribution."""

    def get_action_dist_cls(self, framework):
        return Contrary


def contrary(ppo):
    return ppo.rl_module(rl_module_spec=RLModuleSpec(catalog_class=ContraryCatalog))


# Cases in which RLlib's default connectors, and a filter, are all that is needed.
DIRECT = ("plain", "mean_std", "pendulum")
CASES = {f.__name__: f for f in (plain, lstm, frames, mean_std, memories, pendulum, contrary)}


@pytest.fixture(scope="module", params=CASES)
def trained(request, small_ppo):
    """An algorithm after two pruning iterations, and the name of its kind."""
    ppo = CASES[request.param](small_ppo().environment(Recorded, env_config={"id": "CartPole-v1"}))
    pruning = PruningConfig(final_sparsity=0.5, begin=0.0, end=1.0, horizon=512)
    algorithm = with_pruning(ppo, pruning).build_algo()
    for _ in range(2):
        algorithm.train()
    # After so short a training biases decide, and the policy always acts alike.
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in algorithm.get_module().named_parameters():
            noise = 0.3 * torch.randn(parameter.shape, generator=generator)
            parameter.mul_(0.0 if "bias" in name else 1.0).add_(noise * (parameter != 0.0))
    yield request.param, algorithm
    algorithm.stop()


def filter_state(algorithm):
    return repr(algorithm.env_runner._env_to_module.get_state())


def set_updating(algorithm, updating):
    for connector in algorithm.env_runner._env_to_module.connectors:
        if hasattr(connector, "_update_stats"):
            connector._update_stats = updating


def sampled(algorithm):
    """Finished episodes of RLlib's own EnvRunner, acting deterministically, filters at rest."""
    Recorded.episodes = []
    set_updating(algorithm, False)
    algorithm.env_runner.sample(num_episodes=4, explore=False)
    set_updating(algorithm, True)
    episodes, Recorded.episodes = Recorded.episodes, None
    return [steps for steps in episodes if steps[-1][2] is None and len(steps) > 5]


def replay(policy, episodes):
    """What a policy does when it is shown the observations and rewards of given episodes."""
    policy.begin([0] * len(episodes))
    taken = [[] for _ in episodes]
    for t in range(max(map(len, episodes))):
        active = [
            i for i, steps in enumerate(episodes) if t < len(steps) and steps[t][2] is not None
        ]
        if active:
            now = [episodes[i][t] for i in active]
            actions = policy.act(active, [step[0] for step in now], [step[1] for step in now])
            for i, action in zip(active, actions, strict=True):
                taken[i].append(action)
    return taken


def connector_policy(algorithm):
    runner = algorithm.env_runner
    return ConnectorPolicy(algorithm.get_module(), runner._env_to_module, runner._module_to_env)


def returns(policy, algorithm):
    return Evaluator(env_maker(algorithm.config)).run(policy, SEEDS).returns


def test_a_policy_acts_as_rllibs_own_env_runner(trained):
    name, algorithm = trained
    episodes = sampled(algorithm)
    assert len(episodes) >= 4
    expected = [[step[2] for step in steps if step[2] is not None] for steps in episodes]
    assert len(np.unique(np.concatenate([np.ravel(actions) for actions in expected]))) > 1
    policy = policy_of(algorithm)
    assert isinstance(policy, DirectPolicy) == (name in DIRECT)
    for actions, reference in zip(replay(policy, episodes), expected, strict=True):
        np.testing.assert_allclose(np.array(actions), np.array(reference), rtol=1e-5, atol=1e-6)


def test_a_saved_policy_acts_as_the_one_in_training(trained, tmp_path):
    _, algorithm = trained
    save_policy(algorithm, masks_of(algorithm), tmp_path / "p", {"env": "it"})
    loaded = load_policy(tmp_path / "p")
    policy = policy_of(algorithm)
    assert type(loaded) is type(policy)
    expected = returns(policy, algorithm)
    assert returns(loaded, algorithm) == expected
    assert returns(loaded, algorithm) == expected
    assert len(set(expected)) > 1


def test_evaluation_moves_no_statistics_and_no_episode_state(trained):
    name, algorithm = trained
    before = filter_state(algorithm)
    assert ("MeanStdFilter" in before) == (name == "mean_std")
    policy = policy_of(algorithm)
    first = returns(policy, algorithm)
    assert returns(policy, algorithm) == first
    assert filter_state(algorithm) == before
    if name == "mean_std":
        # The training EnvRunner's own filter does move.
        algorithm.env_runner.sample(num_episodes=1)
        assert filter_state(algorithm) != before


def test_a_restored_algorithm_sees_through_the_same_filter(trained, tmp_path):
    _, algorithm = trained
    algorithm.save_to_path(tmp_path / "state")
    clone = algorithm.config.copy(copy_frozen=False).build_algo()
    clone.restore_from_path(tmp_path / "state")
    assert filter_state(clone) == filter_state(algorithm)
    clone.stop()


def test_plain_rllib_loads_the_saved_module_with_its_zeros(trained, tmp_path):
    _, algorithm = trained
    masks = masks_of(algorithm)
    save_policy(algorithm, masks, tmp_path / "p", {})
    module = RLModule.from_checkpoint(tmp_path / "p" / "rl_module")
    original = dict(algorithm.get_module().named_parameters())
    loaded = dict(module.named_parameters())
    assert loaded.keys() == original.keys()
    for name, parameter in loaded.items():
        assert torch.equal(parameter, original[name])
        if name in masks:
            assert bool((parameter[~masks[name]] == 0.0).all())
    path = [n for n in masks if not n.startswith(("vf.", "encoder.critic_encoder."))]
    zeros = sum(int((loaded[name] == 0.0).sum()) for name in path)
    assert zeros == round(0.5 * sum(masks[name].numel() for name in path))
    saved = load_masks(tmp_path / "p" / "masks.npz", masks)
    assert all(torch.equal(saved[name], masks[name]) for name in masks)


def test_the_direct_policy_gives_the_connectors_actions(trained):
    name, algorithm = trained
    if name not in DIRECT:
        assert not isinstance(policy_of(algorithm), DirectPolicy)
        return
    generator = np.random.default_rng(4)
    shape = algorithm.env_runner.env.single_observation_space.shape
    observations = list(generator.normal(0.0, 1.5, (400, *shape)).astype(np.float32))
    before = filter_state(algorithm)
    for stochastic in (False, True):
        parts = parts_of(algorithm)
        direct = parts.policy(stochastic=stochastic)
        connected = dataclasses.replace(parts, through_connectors=True).policy(
            stochastic=stochastic
        )
        given = []
        for policy in (direct, connected):
            policy.begin(range(400))
            given.append(np.array(policy.act(range(400), observations, [0.0] * 400)))
        assert given[0].dtype.kind == given[1].dtype.kind
        np.testing.assert_array_equal(given[0], given[1])
        assert len(np.unique(given[0])) > 1
        assert returns(direct, algorithm) == returns(connected, algorithm)
    assert filter_state(algorithm) == before


def test_actions_are_the_most_probable_ones(trained):
    name, algorithm = trained
    if name != "plain":
        return
    observations = np.random.default_rng(5).normal(0.0, 1.0, (50, 4)).astype(np.float32)
    logits = algorithm.get_module().forward_inference({Columns.OBS: torch.from_numpy(observations)})
    expected = logits[Columns.ACTION_DIST_INPUTS].argmax(dim=1).tolist()
    policy = policy_of(algorithm)
    policy.begin(range(50))
    assert list(map(int, policy.act(range(50), list(observations), [0.0] * 50))) == expected


@pytest.mark.parametrize("part", [*PARTS, METADATA])
def test_an_incomplete_policy_is_refused_by_the_name_of_what_is_missing(tmp_path, part):
    for name in PARTS:
        (tmp_path / name).mkdir()
    (tmp_path / METADATA).write_text("{}")
    path = tmp_path / part
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()
    with pytest.raises(CheckpointError, match=f"not a saved policy: {part} missing"):
        load_policy(tmp_path)


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is not a saved policy"):
        load_policy(tmp_path / "nowhere")


def test_the_size_is_that_of_the_policy_path_alone(trained):
    _, algorithm = trained
    module = algorithm.get_module()
    size = compressed_size(module)
    assert size > 500
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.startswith(("vf.", "encoder.critic_encoder.")):
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    assert compressed_size(module) == size


def test_zeros_compress_to_almost_nothing():
    generator = torch.Generator().manual_seed(0)
    dense = torch.nn.Linear(64, 64)
    with torch.no_grad():
        dense.weight.copy_(torch.randn(64, 64, generator=generator))
    size = compressed_size(dense)
    assert size > 0.85 * 4 * 64 * 64
    with torch.no_grad():
        dense.weight[3:] = 0.0
    assert compressed_size(dense) < 0.2 * size
