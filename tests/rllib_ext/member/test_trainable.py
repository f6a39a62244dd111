"""A member's segments: what they start from, train with and leave on disk."""

import dataclasses
import json
import time

import numpy as np
import pytest
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_ext import PruningConfig, load_policy
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.export.objectives import measured_objectives
from rllib_ext.export.opened import open_saved
from rllib_ext.member.segment import DENSE
from rllib_ext.member.trainable import MemberSettings, MemberTrainable, Segment, save_state
from rllib_ext.policy import store as policy_module
from rllib_ext.rl.learner import PruningPPOTorchLearner

pytestmark = pytest.mark.ray

WEIGHTS = 4 * 16 + 16 * 16 + 16 * 2
ITERATION = 256
HORIZON = 10 * ITERATION
# Far apart: four environments take the seeds s … s + 3.
SEED, OTHER_SEED = 11, 1_000_003
EVALUATION_SEEDS = (1000, 1001, 1002)


class StepRecorder(PruningPPOTorchLearner):
    """Records the learning rate that the optimizer itself uses, at every one of its steps."""

    def build(self):
        super().build()
        self.used_rates = []
        for _, optimizer in self.get_optimizers_for_module("default_policy"):
            optimizer.register_step_pre_hook(self._record)

    def _record(self, optimizer, args, kwargs):
        self.used_rates.extend(group["lr"] for group in optimizer.param_groups)


class ResetRecorder(RLlibCallback):
    """Records what every episode of the training EnvRunner starts with."""

    starts = ()

    def on_episode_start(self, *, episode, **kwargs):
        ResetRecorder.starts = (*ResetRecorder.starts, tuple(episode.get_observations(0)))


@pytest.fixture
def settings(small_ppo, tmp_path):
    ppo = small_ppo().learners(learner_class=StepRecorder).callbacks(ResetRecorder)
    return MemberSettings(folder=str(tmp_path), ppo_config=ppo, evaluation_interval=2)


@pytest.fixture
def start(settings):
    """Starts a trainable without Tune, and stops it after the test."""
    started = []

    class Direct(MemberTrainable):
        def setup(self, config):
            super().setup(config, self.given)

    def build(segment, **changes):
        Direct.given = dataclasses.replace(settings, **changes)
        ResetRecorder.starts = ()
        started.append(Direct(segment.to_dict()))
        return started[-1]

    yield build
    for trainable in started:
        trainable.stop()


def segment(**changes):
    pruning = {"final_sparsity": 0.9, "begin": 0.0, "end": 1.0, "horizon": HORIZON}
    values = {
        "member": 0,
        "segment": 0,
        "trial_number": 0,
        "seed": SEED,
        "pruning": PruningConfig(**{**pruning, **changes.pop("pruning", {})}).to_dict(),
        "training": {"lr": 1e-3},
        "until_env_steps": 3 * ITERATION,
        "evaluation_seeds": EVALUATION_SEEDS,
    }
    return Segment(**{**values, **changes})


def run(trainable):
    """Trains a segment to its end; returns the results."""
    results = [trainable.train()]
    while not results[-1]["segment_done"]:
        results.append(trainable.train())
    return results


def snapshots(results):
    return [json.loads(result["snapshot"]) for result in results if "snapshot" in result]


def learner_of(trainable):
    return trainable._algorithm.learner_group._learner


def lineage_state(trainable):
    """All that an exploit copies: weights, masks, Adam's state, KL coefficient, clock."""
    learner = learner_of(trainable)
    (optimizer,) = (o for _, o in learner.get_optimizers_for_module("default_policy"))
    parameters = dict(learner.module["default_policy"].named_parameters())
    runner = dict(trainable._algorithm.env_runner.module.named_parameters())
    state = {f"weight/{n}": p.detach().clone() for n, p in parameters.items()}
    state |= {f"runner/{n}": p.detach().clone() for n, p in runner.items()}
    state |= {f"mask/{n}": m.clone() for n, m in learner.pruner.masks.items()}
    for name, parameter in parameters.items():
        for key, value in optimizer.state[parameter].items():
            state[f"{key}/{name}"] = torch.as_tensor(value).clone()
    kl = learner.curr_kl_coeffs_per_module["default_policy"]
    state["kl"] = torch.tensor(float(kl))
    state["clock"] = torch.tensor(learner.pruner.env_steps)
    return state


def assert_equal_states(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


@pytest.fixture
def donor(start):
    """A trained donor: its trainable, results and the folder of its last full state."""
    trainable = start(segment(member=1))
    results = run(trainable)
    return trainable, results, f"{trainable._settings.folder}/{snapshots(results)[-1]['state']}"


def test_a_segment_starts_with_exactly_the_donors_weights_masks_and_moments(start, donor):
    donor_trainable, _, state = donor
    assert learner_of(donor_trainable).curr_kl_coeffs_per_module
    receiver = start(
        segment(member=0, segment=1, seed=OTHER_SEED, training={"lr": 3e-3}, state=state)
    )
    assert_equal_states(lineage_state(receiver), lineage_state(donor_trainable))
    assert receiver._clock == donor_trainable._clock


def test_a_clone_trains_with_its_own_learning_rate_from_the_first_optimizer_step_on(start, donor):
    donor_trainable, _, state = donor
    assert set(learner_of(donor_trainable).used_rates) == {1e-3}
    receiver = start(
        segment(segment=1, training={"lr": 7e-3}, state=state, until_env_steps=6 * ITERATION)
    )
    run(receiver)
    used = learner_of(receiver).used_rates
    assert len(used) >= 3 * 2 * ITERATION / 128
    assert set(used) == {7e-3}


def test_a_clone_reads_a_learning_rate_schedule_at_the_lineages_clock(start, donor):
    donor_trainable, _, state = donor
    clock = donor_trainable._clock
    schedule = [[0, 8e-3], [2 * clock, 0.0]]
    receiver = start(segment(segment=1, training={"lr": schedule}, state=state))
    receiver.train()
    used = learner_of(receiver).used_rates
    assert used == pytest.approx([4e-3] * len(used))


@pytest.mark.parametrize(
    "changes",
    [
        {"final_sparsity": 0.99, "schedule": "linear", "begin": 0.1, "end": 0.6},
        {"final_sparsity": 0.2},
        {"schedule": "plateau", "random_return": 20.0},
        {"final_sparsity": 0.95, "begin": 0.0, "end": 0.1},
    ],
)
def test_sparsity_does_not_jump_though_target_and_schedule_change(start, donor, changes):
    _, donor_results, state = donor
    before = donor_results[-1]["pruning"]["zeros"]
    assert before > 100
    receiver = start(segment(segment=1, pruning=changes, state=state, until_env_steps=HORIZON))
    results = run(receiver)
    zeros = [r["pruning"]["zeros"] for r in results]
    clocks = np.array([r["env_steps"] for r in results])
    clock = donor_results[-1]["env_steps"]
    final = changes.get("final_sparsity", 0.9)
    end = changes.get("end", 1.0)
    if changes.get("schedule") == "linear":
        # Anchored anew at (now, sparsity now), it rises to its target at its end.
        p = np.clip((clocks - clock) / (end * HORIZON - clock), 0.0, 1.0)
        start_sparsity = before / WEIGHTS
        expected = [round(s * WEIGHTS) for s in start_sparsity + (final - start_sparsity) * p]
        assert zeros == expected
        assert zeros[-1] == round(final * WEIGHTS)
    elif changes.get("schedule") == "plateau":
        assert zeros[0] in (before, before + round(0.05 * WEIGHTS))
    else:
        # Below what is reached, or past its end: it holds.
        assert zeros == [before] * len(zeros)


def test_two_segments_of_a_member_see_different_episode_starts(start):
    first = start(segment())
    results = run(first)
    starts_of_first = set(ResetRecorder.starts)
    state = f"{first._settings.folder}/{snapshots(results)[-1]['state']}"
    second = start(segment(segment=1, seed=OTHER_SEED, state=state, until_env_steps=6 * ITERATION))
    run(second)
    starts_of_second = set(ResetRecorder.starts)
    assert len(starts_of_first) > 10
    assert len(starts_of_second) > 10
    assert not starts_of_first & starts_of_second


def test_an_equal_segment_repeats_itself_and_another_seed_does_not(start):
    def trajectory(seed):
        trainable = start(segment(seed=seed))
        run(trainable)
        return lineage_state(trainable), ResetRecorder.starts

    (one, starts), (same, same_starts), (_, other_starts) = map(
        trajectory, (SEED, SEED, OTHER_SEED)
    )
    assert starts == same_starts
    assert_equal_states(one, same)
    assert not set(starts) & set(other_starts)


def test_resetting_in_the_same_process_equals_a_fresh_process(start, donor):
    donor_trainable, _, state = donor
    following = segment(
        member=0, segment=1, seed=21, training={"lr": 2e-3}, state=state,
        until_env_steps=6 * ITERATION,
    )  # fmt: skip
    fresh = start(following)
    fresh_results = run(fresh)
    used = start(segment(seed=5))
    run(used)
    assert used.reset_config(following.to_dict())
    reset_results = run(used)
    assert_equal_states(lineage_state(fresh), lineage_state(used))
    assert snapshots(fresh_results) == snapshots(reset_results)
    assert donor_trainable._clock < fresh._clock


def test_a_result_says_what_the_segment_did(start):
    trainable = start(segment(member=3, segment=2, trial_number=9))
    results = run(trainable)
    assert [r["member"] for r in results] == [3] * 3
    assert [r["segment"] for r in results] == [2] * 3
    assert sum(r["env_steps_this_iter"] for r in results) == results[-1]["env_steps"]
    assert [r["segment_done"] for r in results] == [False, False, True]
    # Every second iteration, and the end whatever its number.
    made = snapshots(results)
    assert [s["snapshot_id"] for s in made] == ["m03-s002-i0002", "m03-s002-i0003"]
    for snapshot, result in zip(made, results[1:], strict=True):
        assert snapshot["trial_number"] == 9
        assert snapshot["status"] == "ok"
        assert snapshot["seeds"] == list(EVALUATION_SEEDS)
        assert snapshot["return_mean"] == result["return_mean"] == np.mean(snapshot["returns"])
        assert snapshot["sparsity"] == result["pruning"]["sparsity"]
        assert snapshot["nonzero_params"] == WEIGHTS - result["pruning"]["zeros"]
        assert result["evaluation_env_steps"] == sum(snapshot["lengths"])


def test_a_segment_ends_with_the_iteration_of_its_deadline_evaluated_and_measured(start, tmp_path):
    names = ("units", "params", "macs", "bytes")
    results = run(start(segment(), measured=names, deadline=time.time() - 1.0))
    # An iteration of RLlib's may be a step or two longer.
    assert [r["env_steps"] // ITERATION for r in results] == [1]
    (snapshot,) = snapshots(results)
    folder = tmp_path / snapshot["checkpoint"]
    parts, masks, _ = open_saved(folder)
    assert snapshot["objectives"] == measured_objectives(names, parts, masks)
    assert (tmp_path / snapshot["state"]).is_dir()


def test_a_baseline_is_trained_beyond_the_deadline_and_evaluated_at_its_end(start):
    results = run(start(segment(member=DENSE), deadline=time.time() - 1.0))
    assert len(results) == 3
    assert ["snapshot" in result for result in results] == [False, False, True]


def test_the_policy_on_disk_is_the_one_that_was_evaluated(start):
    trainable = start(segment())
    (*_, snapshot) = snapshots(run(trainable))
    folder = trainable._settings.folder
    policy = load_policy(f"{folder}/{snapshot['checkpoint']}")
    evaluator = Evaluator(env_maker(trainable._settings.ppo_config))
    assert list(evaluator.run(policy, EVALUATION_SEEDS).returns) == snapshot["returns"]
    weights = {n: p for n, p in policy.module.named_parameters() if n.endswith("weight")}
    path = [w for n, w in weights.items() if n.startswith(("encoder.actor", "pi."))]
    assert sum(int((w == 0.0).sum()) for w in path) == WEIGHTS - snapshot["nonzero_params"]


def test_a_member_with_weights_that_are_no_numbers_is_reported_as_failed(start):
    trainable = start(segment(pruning={"final_sparsity": 0.0}, until_env_steps=1))
    evaluate = trainable._evaluate

    def diverge(pruning):
        with torch.no_grad():
            next(trainable._algorithm.get_module().parameters()).fill_(torch.nan)
        return evaluate(pruning)

    trainable._evaluate = diverge
    (snapshot,) = snapshots([trainable.train()])
    assert snapshot["status"] == "failed"


class CrashError(RuntimeError):
    pass


@pytest.mark.parametrize("half", ["policies", "states"])
def test_a_crash_while_saving_leaves_no_half_folder_and_the_segment_runs_again(
    start, tmp_path, monkeypatch, half
):
    def crash(*args, **kwargs):
        raise CrashError

    trainable = start(segment())
    with monkeypatch.context() as patch:
        if half == "policies":
            patch.setattr(policy_module, "save_masks", crash)
        else:
            patch.setattr(StepRecorder, "_get_optimizer_state", crash)
        with pytest.raises(CrashError):
            run(trainable)
    assert [path.suffix for path in (tmp_path / half).iterdir()] == [".part"]
    if half == "states":
        # Whatever has a snapshot's name is whole.
        (policy,) = (tmp_path / "policies").iterdir()
        load_policy(policy)

    again = start(segment())
    (first, *_) = snapshots(run(again))
    names = {p.name for p in (tmp_path / "policies").iterdir()}
    assert names == {p.name for p in (tmp_path / "states").iterdir()}
    assert first["snapshot_id"] in names
    assert not any(name.endswith(".part") for name in names)


def test_a_state_is_replaced_as_a_whole(start, tmp_path):
    trainable = start(segment())
    trainable.train()
    folder = tmp_path / "states" / "one"
    save_state(trainable._algorithm, folder)
    (folder / "left_over").touch()
    trainable.train()
    save_state(trainable._algorithm, folder)
    assert not (folder / "left_over").exists()
    restored = start(segment(state=str(folder)))
    assert_equal_states(lineage_state(restored), lineage_state(trainable))


def test_policy_and_state_are_on_disk_before_the_result_that_names_them(start, tmp_path):
    trainable = start(segment())
    trainable.step()
    for _ in range(2):
        (snapshot,) = snapshots([trainable.step()])
        assert (tmp_path / snapshot["checkpoint"] / "masks.npz").is_file()
        assert (tmp_path / snapshot["state"] / "learner_group").is_dir()
