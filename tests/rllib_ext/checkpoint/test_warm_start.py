import dataclasses
import json

import numpy as np
import pytest
import torch
from ray import tune

from rllib_ext.checkpoint.warm_start import (
    Initial,
    read_initial,
    refuse_other_network,
    start_from,
)
from rllib_ext.member.segment import Segment, config_of
from rllib_ext.member.trainable import MemberSettings, MemberTrainable
from rllib_ext.packed.pack import Pack
from rllib_ext.packed.trainable import PackTrainable
from rllib_ext.policy.store import load_policy
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import CheckpointError, ConfigError
from rllib_ext.rl.callback import masks_of
from rllib_ext.rl.with_pruning import build_algorithm, with_pruning

pytestmark = pytest.mark.ray


def segment(seed=3):
    """A first segment that learns nothing: what is saved at its end is what it started from."""
    pruning = PruningConfig(final_sparsity=0.5, begin=0.9, end=1.0, horizon=100_000)
    return Segment(
        member=0, segment=0, trial_number=-1, seed=seed, pruning=pruning.to_dict(),
        training={"lr": 0.0}, until_env_steps=1, evaluation_seeds=(1, 2),
    )  # fmt: skip


def weights_of(ppo_config, folder, trainable, initial, config):
    settings = MemberSettings(
        folder=str(folder), ppo_config=ppo_config, evaluation_interval=1, initial=str(initial)
    )
    member = tune.with_parameters(trainable, settings=settings)(config)
    try:
        member.step()
    finally:
        member.stop()
    (policy,) = (folder / "policies").iterdir()
    return {k: v.numpy() for k, v in load_policy(policy).module.state_dict().items()}


@pytest.mark.parametrize("packed", [False, True])
def test_a_member_is_born_with_the_checkpoints_weights(ppo_checkpoint, small_ppo, tmp_path, packed):
    initial = read_initial(ppo_checkpoint)
    initial.save(tmp_path / "initial.pkl")
    trainable = PackTrainable if packed else MemberTrainable
    config = config_of([segment()]) if packed else segment().to_dict()
    born = weights_of(small_ppo(), tmp_path, trainable, tmp_path / "initial.pkl", config)
    assert born
    for name, value in born.items():
        np.testing.assert_array_equal(value, initial.weights[name])


@pytest.mark.parametrize("packed", [False, True])
def test_of_the_checkpoints_weights_the_smallest_go_where_others_are_drawn(
    ppo_checkpoint, small_ppo, tmp_path, packed
):
    initial = read_initial(ppo_checkpoint)
    initial.save(tmp_path / "initial.pkl")
    regrowing = PruningConfig(
        final_sparsity=0.5,
        count="kept",
        schedule="constant",
        begin=0.0,
        regrow="set",
        horizon=100_000,
    )
    started = dataclasses.replace(segment(), pruning=regrowing.to_dict())
    trainable = PackTrainable if packed else MemberTrainable
    config = config_of([started]) if packed else started.to_dict()
    left = weights_of(small_ppo(), tmp_path, trainable, tmp_path / "initial.pkl", config)
    left = {name: value for name, value in left.items() if value.ndim == 2}
    before = np.concatenate([np.abs(initial.weights[name]).ravel() for name in left])
    kept = np.concatenate([value.ravel() for value in left.values()]) != 0
    assert kept.mean() == pytest.approx(0.5, abs=0.01)
    assert before[kept].min() >= before[~kept].max()


@pytest.mark.parametrize("how", ["start_from", "restored"])
def test_a_fresh_networks_start_cuts_nothing_of_a_checkpoint(ppo_checkpoint, small_ppo, how):
    pruning = PruningConfig(horizon=100_000, start="narrow", start_density=0.2)
    algorithm = build_algorithm(with_pruning(small_ppo(), pruning))
    initial = read_initial(ppo_checkpoint)
    try:
        if how == "restored":
            algorithm.restore_from_path(ppo_checkpoint.resolve())
        else:
            start_from(algorithm, initial)
        learner = algorithm.learner_group._learner
        learner.pruner.enforce_()
        assert all(bool(mask.all()) for mask in masks_of(algorithm).values())
        # What goes is chosen, even by rules that begin with masks that are drawn.
        assert learner.pruner.begins_trained
        for name, value in learner.module["default_policy"].state_dict().items():
            np.testing.assert_array_equal(value.numpy(), initial.weights[name])
    finally:
        algorithm.stop()


def test_a_state_comes_before_the_checkpoint(ppo_checkpoint, small_ppo):
    pack = Pack(small_ppo(), 2)
    pruning = PruningConfig(horizon=1_000)
    pack.start(0, training={}, pruning=pruning, seed=1)
    state = pack.state(0)
    initial = read_initial(ppo_checkpoint)
    pack.start(1, training={}, pruning=pruning, seed=2, state=state, initial=initial)
    for name, value in state.weights.items():
        torch.testing.assert_close(pack.state(1).weights[name], value, rtol=0, atol=0)
    pack.close()


@pytest.mark.parametrize("later", [False, True])
def test_its_policy_is_the_teacher_from_birth_and_after_a_restore(
    ppo_checkpoint, small_ppo, tmp_path, later
):
    initial = read_initial(ppo_checkpoint)
    initial.save(tmp_path / "initial.pkl")
    pruning = PruningConfig(
        final_sparsity=0.5, schedule="one_shot", begin=0.0, horizon=10**6, distil=2.0
    ).to_dict()
    settings = MemberSettings(
        folder=str(tmp_path), ppo_config=small_ppo(), evaluation_interval=1,
        initial=str(tmp_path / "initial.pkl"),
    )  # fmt: skip
    make = tune.with_parameters(MemberTrainable, settings=settings)
    held = dataclasses.replace(segment(), pruning=pruning, training={"lr": 1e-2})
    member = make(held.to_dict())
    result = member.step()
    if later:
        member.stop()
        state = json.loads(result["snapshot"])["state"]
        second = dataclasses.replace(held, segment=1, state=state, until_env_steps=10**4)
        member = make(second.to_dict())
        result = member.step()
    learner = member._algorithm.learner_group._learner
    # The policy has changed, and its teacher not.
    taught = learner._teacher._module.state_dict()
    for name, value in initial.weights.items():
        np.testing.assert_array_equal(taught[name].numpy(), value)
    own = learner.module["default_policy"].state_dict()
    assert any(not np.array_equal(own[name].numpy(), v) for name, v in initial.weights.items())
    assert result["learners"]["teaching_loss"] > 0.0
    member.stop()


def test_what_is_saved_is_read_again(ppo_checkpoint, tmp_path):
    initial = read_initial(ppo_checkpoint)
    initial.save(tmp_path / "initial.pkl")
    again = Initial.load(tmp_path / "initial.pkl")
    assert again.weights.keys() == initial.weights.keys()
    assert any(name.startswith("vf.") for name in again.weights)
    (tmp_path / "initial.pkl").write_bytes(b"no pickle")
    with pytest.raises(CheckpointError):
        Initial.load(tmp_path / "initial.pkl")


def test_another_network_is_refused_and_told_apart(ppo_checkpoint, small_ppo):
    initial = read_initial(ppo_checkpoint)
    refuse_other_network(initial, small_ppo(), ppo_checkpoint)
    wider = small_ppo().rl_module(model_config={"fcnet_hiddens": [32, 16]})
    with pytest.raises(ConfigError, match=r"is \(16, 4\) there and \(32, 4\) here.*model_config"):
        refuse_other_network(initial, wider, ppo_checkpoint)
    deeper = small_ppo().rl_module(model_config={"fcnet_hiddens": [16, 16, 16]})
    with pytest.raises(ConfigError, match="missing there"):
        refuse_other_network(initial, deeper, ppo_checkpoint)
    with pytest.raises(ConfigError, match="holds another network"):
        refuse_other_network(initial, small_ppo(env="Acrobot-v1"), ppo_checkpoint)


def test_the_same_shapes_with_another_activation_are_refused(ppo_checkpoint, small_ppo):
    initial = read_initial(ppo_checkpoint)
    relu = {**small_ppo().model_config, "fcnet_activation": "relu"}
    with pytest.raises(
        ConfigError, match=r"other actions and values: fcnet_activation is tanh there and relu here"
    ):
        refuse_other_network(initial, small_ppo().rl_module(model_config=relu), ppo_checkpoint)
    # What doesn't show in what is computed is no other network.
    longer = {**small_ppo().model_config, "max_seq_len": 7}
    refuse_other_network(initial, small_ppo().rl_module(model_config=longer), ppo_checkpoint)


def test_filters_that_only_one_side_has_are_refused(ppo_checkpoint, small_ppo):
    initial = read_initial(ppo_checkpoint)
    filtered = Initial(initial.weights, {"MeanStdFilter": {None: {}}})
    with pytest.raises(ConfigError, match=r"trained with the connectors \['MeanStdFilter'\]"):
        refuse_other_network(filtered, small_ppo(), ppo_checkpoint)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is not there"):
        read_initial(tmp_path / "none")
