"""What Tune runs: packs of segments, by hand, without a cluster."""

import dataclasses
import json
import math
import subprocess
import sys
import time

import pytest
from command_line import environment
from own_policies import Parts, Places, own

from rllib_ext import PruningConfig, load_policy
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.export.objectives import measured_objectives
from rllib_ext.export.opened import open_saved
from rllib_ext.member.segment import (
    DENSE,
    MEMBERS,
    Segment,
    config_of,
    iteration_of,
    segments_of,
    snapshot_name,
)
from rllib_ext.member.trainable import MemberSettings
from rllib_ext.packed.pack import Pack
from rllib_ext.packed.state import STATE
from rllib_ext.packed.trainable import PackTrainable
from rllib_ext.pruning.errors import ConfigError
from search.store.archive import Snapshot

ITERATION = 64
PRUNING = PruningConfig(horizon=20 * ITERATION, final_sparsity=0.8, begin=0.0, end=0.8)


def segment(member, iterations, number=0, **more):
    return Segment(
        member=member,
        segment=number,
        trial_number=member,
        seed=1000 * number + member,
        pruning=PRUNING.to_dict(),
        training={"lr": 1e-3 * (member + 1)},
        until_env_steps=iterations * ITERATION,
        evaluation_seeds=(3, 4, 5),
        **more,
    )


@pytest.fixture
def build(packed_ppo, tmp_path):
    """Sets trainables up as Tune does."""
    made = []

    def start(*segments, **changes):
        trainable = PackTrainable.__new__(PackTrainable)
        settings = MemberSettings(
            folder=str(tmp_path), ppo_config=packed_ppo(), evaluation_interval=2, **changes
        )
        trainable.setup(config_of(segments), settings)
        made.append(trainable)
        return trainable

    yield start
    for trainable in made:
        trainable.cleanup()


def test_segments_of_a_module_of_one_s_own_are_trained_saved_and_gone_on_from(tmp_path, packed_ppo):
    settings = MemberSettings(
        folder=str(tmp_path),
        ppo_config=packed_ppo(Places).rl_module(**own(Parts)),
        evaluation_interval=2,
    )
    trainable = PackTrainable.__new__(PackTrainable)
    trainable.setup(config_of([segment(0, 3), segment(1, 3)]), settings)
    listed, _ = run(trainable)
    snapshots = [r["snapshot"] for each in listed for r in each if "snapshot" in r]
    last = next(s for s in reversed(snapshots) if s["member"] == 0)
    evaluator = Evaluator(Places)
    episodes = evaluator.run(load_policy(tmp_path / last["checkpoint"]), (3, 4, 5))
    evaluator.close()
    assert episodes.mean == last["return_mean"]
    # The clone of a donor goes on in the same process.
    clone = segment(1, 5, number=1, parent=last["snapshot_id"], state=last["state"])
    trainable.reset_config(config_of([segment(0, 5, number=1, state=last["state"]), clone]))
    listed, _ = run(trainable)
    trainable.cleanup()
    assert [r["env_steps"] for r in listed[-1]] == [5 * ITERATION] * 2
    assert not any(r["failure"] for each in listed for r in each)
    assert listed[-1][0]["pruning"]["sparsity"] > last["sparsity"] > 0.0


def run(trainable):
    results = []
    while not results or not results[-1]["segment_done"]:
        results.append(trainable.step())
    return [json.loads(r[MEMBERS]) for r in results], results


def test_segments_of_different_lengths_are_each_trained_to_their_end(build, tmp_path):
    listed, results = run(build(segment(0, 5), segment(1, 3)))
    assert [[r["member"] for r in each] for each in listed] == [[0, 1]] * 3 + [[0]] * 2
    assert [r["segment_done"] for each in listed for r in each if r["member"] == 1] == [
        False,
        False,
        True,
    ]
    evaluated = [
        (i + 1, r["member"]) for i, each in enumerate(listed) for r in each if "snapshot" in r
    ]
    # Every second iteration, and at each segment's end.
    assert evaluated == [(2, 0), (2, 1), (3, 1), (4, 0), (5, 0)]
    last = listed[-1][0]["snapshot"]
    assert (last["env_steps"], last["iteration"]) == (5 * ITERATION, 5)
    assert results[0]["env_steps_this_iter"] == 2 * ITERATION
    assert math.isnan(results[0]["return_mean"])
    assert results[-1]["return_mean"] == last["return_mean"]
    # What the archive takes, whole.
    snapshot = Snapshot.from_json({**last, "wall_time": 0.0, "hyperparameters": {}})
    assert snapshot.usable
    assert snapshot.sparsity == pytest.approx(listed[-1][0]["pruning"]["sparsity"])


def test_what_is_asked_for_is_measured_on_the_policy_that_is_saved(build, tmp_path):
    names = ("units", "params", "macs", "bytes")
    listed, _ = run(build(segment(0, 2), segment(1, 2), measured=names))
    for result in listed[-1]:
        snapshot = result["snapshot"]
        folder = tmp_path / snapshot["checkpoint"]
        parts, masks, _ = open_saved(folder)
        assert snapshot["objectives"] == measured_objectives(names, parts, masks)
        assert snapshot["objectives"]["macs"] > 0


def test_after_the_deadline_every_segment_ends_with_its_iteration_and_is_evaluated(build):
    listed, results = run(build(segment(0, 5), segment(1, 3), deadline=time.time() - 1.0))
    assert [[r["segment_done"] for r in each] for each in listed] == [[True, True]]
    assert all(r["env_steps"] == r["snapshot"]["env_steps"] == ITERATION for r in listed[0])
    assert results[-1]["segment_done"]


def test_the_dense_baseline_is_trained_beyond_the_deadline_and_evaluated_at_its_end(build):
    listed, _ = run(
        build(dataclasses.replace(segment(0, 3), member=DENSE), deadline=time.time() - 1.0)
    )
    assert ["snapshot" in each[0] for each in listed] == [False, False, True]
    assert len(listed) == 3


def test_a_snapshot_s_policy_on_disk_gives_the_returns_that_it_reports(build, packed_ppo, tmp_path):
    listed, _ = run(build(segment(0, 4), segment(1, 4)))
    evaluator = Evaluator(env_maker(packed_ppo()))
    for result in listed[-1]:
        snapshot = result["snapshot"]
        policy = load_policy(tmp_path / snapshot["checkpoint"])
        episodes = evaluator.run(policy, snapshot["seeds"])
        assert list(episodes.returns) == snapshot["returns"]
        metadata = json.loads((tmp_path / snapshot["checkpoint"] / "metadata.json").read_text())
        assert metadata["sparsity"] == snapshot["sparsity"]
        assert metadata["snapshot_id"] == snapshot["snapshot_id"]
    evaluator.close()


def test_the_next_segments_go_on_from_states_on_disk_whoever_left_them(build):
    trainable = build(segment(0, 4), segment(1, 4))
    listed, _ = run(trainable)
    donor = listed[-1][0]["snapshot"]
    follow = [
        segment(0, 8, number=1, state=donor["state"], parent=donor["snapshot_id"]),
        segment(1, 8, number=1, state=donor["state"], parent=donor["snapshot_id"]),
        segment(2, 8),
    ]
    assert trainable.reset_config(config_of(follow))
    listed, _ = run(trainable)
    first = {r["member"]: r for r in listed[0]}
    assert [first[m]["env_steps"] for m in range(3)] == [5 * ITERATION, 5 * ITERATION, ITERATION]
    assert first[1]["pruning"]["sparsity"] >= donor["sparsity"]
    ended = {r["member"]: r["snapshot"] for each in listed for r in each if r["segment_done"]}
    assert ended[1]["parent"] == donor["snapshot_id"]
    assert ended[1]["iteration"] == 8
    # In a process of its own, the same segment gives the same member.
    alone, _ = run(build(follow[1]))
    assert alone[-1][0]["snapshot"]["returns"] == ended[1]["returns"]
    assert alone[-1][0]["pruning"]["sparsity"] == ended[1]["sparsity"]


def test_a_member_that_fails_is_reported_and_the_others_are_trained(build):
    trainable = build(segment(0, 4), segment(1, 4))
    trainable.step()
    trainable._pack.network.weights[0] = math.nan
    listed, _ = run(trainable)
    failed, sound = listed[0]
    assert (failed["member"], failed["segment_done"]) == (0, True)
    assert failed["failure"]
    assert "snapshot" not in failed
    assert sound["failure"] == ""
    assert [r["member"] for each in listed[1:] for r in each] == [1, 1]


def removed(folder, packed_ppo):
    (folder / STATE).unlink()


def cut(folder, packed_ppo):
    (folder / STATE).write_bytes((folder / STATE).read_bytes()[:100])


def garbled(folder, packed_ppo):
    # A pickle that names what isn't there.
    (folder / STATE).write_bytes(b"cnowhere\nNothing\n.")


def of_another_network(folder, packed_ppo):
    small = Pack(packed_ppo(model={"fcnet_hiddens": [8]}), 1)
    small.start(0, training={}, pruning=PRUNING, seed=0)
    small.state(0).save(folder)
    small.close()


@pytest.mark.parametrize("damage", [removed, cut, garbled, of_another_network])
def test_a_member_whose_state_cannot_be_used_fails_alone_at_once(
    build, packed_ppo, tmp_path, damage
):
    trainable = build(segment(0, 4), segment(1, 4))
    ended = [r["snapshot"] for r in run(trainable)[0][-1]]
    follow = [
        segment(m, 7, number=1, state=s["state"], parent=s["snapshot_id"])
        for m, s in enumerate(ended)
    ]
    sound, _ = run(build(*follow, segment(2, 3)))
    damage(tmp_path / ended[1]["state"], packed_ppo)
    assert trainable.reset_config(config_of([*follow, segment(2, 3)]))
    listed, results = run(trainable)
    assert [[r["member"] for r in each] for each in listed] == [[0, 1, 2], [0, 2], [0, 2]]
    failed = listed[0].pop(1)
    assert "training state" in failed["failure"] or "another" in damage.__name__
    assert (failed["segment"], failed["segment_done"]) == (1, True)
    # It stands where it was to start, and has spent nothing.
    assert (failed["env_steps"], failed["iteration"]) == (ended[1]["env_steps"], 4)
    assert failed["env_steps_this_iter"] == failed["evaluation_env_steps"] == 0
    assert "snapshot" not in failed
    assert results[0]["env_steps_this_iter"] == 2 * ITERATION
    # The others are trained to the bit as they would have been.
    assert listed == [[r for r in each if r["member"] != 1] for each in sound]


def test_a_pack_whose_members_all_fail_to_start_ends_and_is_used_again(build):
    gone = {"state": "states/m00-s000-i0004", "parent": "m00-s000-i0004"}
    trainable = build(segment(0, 8, number=1, **gone), segment(1, 8, number=1, **gone))
    result = trainable.step()
    assert result["segment_done"]
    assert math.isnan(result["sparsity"])
    assert result["env_steps_this_iter"] == 0
    listed = json.loads(result[MEMBERS])
    assert [r["env_steps"] for r in listed] == [4 * ITERATION] * 2
    assert all("no member's training state" in r["failure"] for r in listed)
    assert trainable.reset_config(config_of([segment(0, 1), segment(1, 1)]))
    listed, _ = run(trainable)
    assert [r["failure"] for r in listed[-1]] == ["", ""]


def test_what_is_no_member_s_misfortune_still_ends_the_trial(build):
    wrong = dataclasses.replace(segment(0, 4), training={"minibatch_size": 16})
    with pytest.raises(ConfigError, match="minibatch_size of a single member"):
        build(wrong, segment(1, 4))


def test_a_snapshot_s_name_tells_its_iteration():
    assert iteration_of(snapshot_name(3, 12, 45)) == 45
    assert iteration_of(snapshot_name(DENSE, 0, 12345)) == 12345
    assert iteration_of("") == iteration_of("some-checkpoint") == 0


def test_the_segments_of_a_trial_survive_its_config():
    one, two = segment(0, 4), segment(1, 4, state="states/x", parent="x")
    plain = json.loads(json.dumps(config_of([one, two])))
    assert [s.member for s in segments_of(plain)] == [0, 1]
    assert json.dumps(config_of(segments_of(plain))) == json.dumps(plain)
    assert segments_of(plain)[1].evaluation_seeds == (3, 4, 5)
    # A trial may be one segment by itself.
    assert segments_of(one.to_dict()) == (one,)


# A segment with a prune step, in a process of its own; then what that has imported.
TRAINED = """
import sys
from ray.rllib.algorithms.ppo import PPOConfig
from rllib_ext import PruningConfig
from rllib_ext.member.segment import Segment, config_of
from rllib_ext.member.trainable import MemberSettings
from rllib_ext.packed.trainable import PackTrainable

ppo = (
    PPOConfig()
    .environment("CartPole-v1")
    .env_runners(num_env_runners=0, num_envs_per_env_runner=2)
    .learners(num_learners=0)
    .training(train_batch_size_per_learner=128, minibatch_size=64, num_epochs=1)
)
pruning = PruningConfig(final_sparsity=0.5, begin=0.0, end=0.5, horizon=256, criterion="gradient")
segment = Segment(member=0, segment=0, trial_number=0, seed=1, pruning=pruning.to_dict(),
                  training={}, until_env_steps=256, evaluation_seeds=(3,))
pack = PackTrainable.__new__(PackTrainable)
pack.setup(config_of([segment]), MemberSettings(folder=sys.argv[1], ppo_config=ppo,
                                                evaluation_interval=9))
while not pack.step()["segment_done"]:
    pass
print("torch._dynamo" in sys.modules)
"""


def test_a_pack_s_process_does_not_load_torch_s_compiler(tmp_path):
    """A third of its start: torch's own optimizers load it when they are made."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRAINED, str(tmp_path)],
        capture_output=True, text=True, timeout=120, env=environment(), check=False,
    )  # fmt: skip
    assert run.stdout.split()[-1:] == ["False"], run.stderr
