"""Checkpoints that RLlib wrote, told apart; those that can't be pruned get one clear error."""

import json
import pickle
import shutil

import pytest
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.examples.envs.classes.multi_agent import MultiAgentCartPole

from rllib_ext.checkpoint.reading import check_layout, read_ppo_config, readable
from rllib_ext.pruning.errors import CheckpointError, ConfigError

pytestmark = pytest.mark.ray

MODULE_STATE = "learner_group/learner/rl_module/default_policy/module_state.pkl"


@pytest.fixture
def copied(ppo_checkpoint, tmp_path):
    folder = tmp_path / "copied"
    shutil.copytree(ppo_checkpoint, folder)
    return folder


def saved(config, folder):
    algorithm = config.env_runners(num_env_runners=0).build_algo()
    try:
        algorithm.save_to_path(folder)
    finally:
        algorithm.stop()


def test_the_configuration_comes_back(ppo_checkpoint):
    config = read_ppo_config(ppo_checkpoint)
    assert isinstance(config, PPOConfig)
    assert (config.env, config.algo_class, config.lr) == ("CartPole-v1", PPO, 3e-3)


def test_a_subclass_of_ppo_keeps_its_class(small_ppo, tmp_path):
    class OwnPPO(PPO):
        pass

    config = small_ppo()
    config.algo_class = OwnPPO
    saved(config, tmp_path / "own")
    assert read_ppo_config(tmp_path / "own").algo_class.__name__ == "OwnPPO"


def test_states_in_msgpack_are_accepted(copied):
    for state in [*copied.rglob("*state.pkl")]:
        state.rename(state.with_suffix(".msgpack"))
    check_layout(copied)


def test_what_is_missing_or_a_file_is_refused(ppo_checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="is not there"):
        check_layout(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="is a file"):
        check_layout(ppo_checkpoint / "rllib_checkpoint.json")


def test_a_foreign_folder_is_refused_and_a_checkpoint_inside_is_named(copied, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no rllib_checkpoint\.json\. Expected"):
        check_layout(tmp_path / "empty")
    trial = tmp_path / "experiment" / "PPO_0"
    trial.mkdir(parents=True)
    for name in ("checkpoint_000000", "checkpoint_000001"):
        shutil.copytree(copied, trial / name)
    for folder in (trial, trial.parent):
        with pytest.raises(CheckpointError, match=r"Did you mean .*PPO_0/checkpoint_000001\?"):
            check_layout(folder)


def test_a_part_of_a_checkpoint_is_refused(ppo_checkpoint):
    with pytest.raises(CheckpointError, match="not a checkpoint of an RLlib algorithm"):
        check_layout(ppo_checkpoint / "learner_group" / "learner" / "rl_module" / "default_policy")


def test_a_saved_policy_is_refused(tmp_path):
    (tmp_path / "masks.npz").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is a saved policy"):
        check_layout(tmp_path)


@pytest.mark.parametrize(
    "part",
    [
        "class_and_ctor_args.pkl",
        "algorithm_state.pkl",
        "learner_group",
        "learner_group/learner/state.pkl",
        MODULE_STATE,
        "env_runner",
    ],
)
def test_a_missing_part_is_named(copied, part):
    """RLlib would pass over most of them in silence and go on with fresh weights."""
    path = copied / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    named = "learner_group/learner/state.pkl" if part == "learner_group" else part
    with pytest.raises(CheckpointError, match=f"incomplete: .*{named}"):
        check_layout(copied)


def test_a_truncated_pickle_is_refused(copied):
    path = copied / "class_and_ctor_args.pkl"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"cannot be read: .* It is damaged"):
        read_ppo_config(copied)


@pytest.mark.parametrize(
    "content", [{"class": PPO}, ["no", "mapping"], {"class": PPO, "ctor_args_and_kwargs": ((), {})}]
)
def test_a_pickle_of_something_else_is_refused(copied, content):
    (copied / "class_and_ctor_args.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_ppo_config(copied)


def test_code_that_is_not_here_is_asked_for(copied):
    (copied / "class_and_ctor_args.pkl").write_bytes(b"cno_such_module\nOwnPPO\n.")
    with pytest.raises(CheckpointError, match=r"No module named 'no_such_module'.*install it"):
        read_ppo_config(copied)


def test_another_ray_is_named_as_the_likely_reason(copied):
    (copied / "rllib_checkpoint.json").write_text(json.dumps({"ray_version": "2.41.0"}))
    (copied / "class_and_ctor_args.pkl").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"written by Ray 2\.41\.0"):
        read_ppo_config(copied)


def test_damaged_metadata_is_refused(copied):
    (copied / "rllib_checkpoint.json").write_text('{"type"')
    with pytest.raises(CheckpointError, match="is not JSON"):
        check_layout(copied)


def test_another_algorithm_is_refused(tmp_path):
    buffer = {"type": "PrioritizedEpisodeReplayBuffer", "capacity": 100}
    config = DQNConfig().environment("CartPole-v1").training(replay_buffer_config=buffer)
    saved(config, tmp_path / "dqn")
    with pytest.raises(CheckpointError, match="checkpoint of DQN; expected one of PPO"):
        read_ppo_config(tmp_path / "dqn")


def test_the_old_api_stack_is_refused(tmp_path):
    old = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=0)
    old.api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
    algorithm = old.build_algo()
    try:
        algorithm.save(str(tmp_path / "old"))
    finally:
        algorithm.stop()
    with pytest.raises(CheckpointError, match="old API stack"):
        check_layout(tmp_path / "old")


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ({"p0", "p1"}, "multi-agent checkpoint, of p0, p1"),
        ({"p0"}, "named 'p0'.*environments of several agents are not supported"),
        ({"default_policy", "p0"}, "more modules .*: p0.*multi-agent"),
    ],
)
def test_several_agents_are_refused(small_ppo, tmp_path, policies, message):
    several = small_ppo(env=MultiAgentCartPole).environment(env_config={"num_agents": 2})
    several.env_runners(num_envs_per_env_runner=1)
    several.multi_agent(policies=policies, policy_mapping_fn=lambda agent, *a, **k: "p0")
    saved(several, tmp_path / "several")
    with pytest.raises(CheckpointError, match=message):
        check_layout(tmp_path / "several")


def test_errors_of_our_own_pass_through_unchanged(tmp_path):
    with pytest.raises(ConfigError, match="mine"), readable(tmp_path):
        raise ConfigError("mine")


def test_a_policy_of_another_name_is_told_what_is_the_matter(copied):
    modules = copied / "learner_group" / "learner" / "rl_module"
    (modules / "default_policy").rename(modules / "main")
    with pytest.raises(
        CheckpointError, match="policy named 'main'; expected 'default_policy'"
    ) as e:
        check_layout(copied)
    assert "multi_agent(policies=...)" in str(e.value)
    assert "by itself" not in str(e.value)


def test_a_model_of_curiosity_beside_the_policy_is_no_second_agent(copied):
    modules = copied / "learner_group" / "learner" / "rl_module"
    (modules / "_intrinsic_curiosity_model").mkdir()
    with pytest.raises(CheckpointError, match=r"more modules .*_intrinsic_curi") as caught:
        check_layout(copied)
    assert "multi-agent checkpoint" not in str(caught.value)
    assert "a model of curiosity" in str(caught.value)
    assert "Train without them" in str(caught.value)
