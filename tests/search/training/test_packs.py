"""Packs of segments through the Tune adapter, driven by hand, and the choice of an engine."""

import dataclasses
import json
import math
import os
import re

import pytest
from pretended_search import Search, coordinated
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.tune.search import Searcher

from rllib_ext.member.segment import DENSE, MEMBERS, segments_of
from rllib_ext.member.trainable import MemberTrainable
from rllib_ext.packed.trainable import PackTrainable
from rllib_ext.pruning.errors import ConfigError
from search.cluster.retries import RETRIES
from search.config.experiment import PPOSettings
from search.config.parameter import IntParameter
from search.runs.check import describe_plan
from search.runs.costs import costs_of
from search.runs.preparation import prepare_again
from search.store.folder import update_manifest
from search.training.engine import engine_of
from search.training.ppo_config import build_ppo
from search.training.segment_scheduler import ErrorNotes, SegmentScheduler, trial_name


@pytest.fixture(autouse=True)
def _without_sync(monkeypatch):
    """Nothing crashes here, so nothing needs to be synced."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


class Trial:
    """What is read of a Tune trial."""

    def __init__(self, trial_id, config):
        self.trial_id, self.config, self.error_file = trial_id, config, None

    def get_error(self):
        return "RuntimeError: the node is gone"


def lose(scheduler, trial_id, config):
    """A trial's process dies."""
    scheduler.on_trial_complete(trial_id, error=True)
    ErrorNotes(scheduler).on_trial_error(0, [], Trial(trial_id, config))


class Pack:
    """A trial that trains its segments together, an iteration each in every step."""

    def __init__(self, search, config):
        self.segments = segments_of(json.loads(json.dumps(config)))
        self.name = trial_name(Trial("", config))
        self.running = {s.member: (s, search.trainer.train(s)) for s in self.segments}

    def step(self):
        listed = []
        for member, (segment, iterations) in list(self.running.items()):
            result, snapshot = next(iterations)
            failed = snapshot is not None and math.isnan(snapshot["return_mean"])
            done = failed or result["env_steps"] >= segment.until_env_steps
            own = {**result, "member": member, "segment": segment.segment, "segment_done": done}
            own |= {"failure": "weights are not finite"} if failed else {"failure": ""}
            whole = snapshot is not None and not failed
            listed.append({**own, "snapshot": snapshot} if whole else own)
            if done:
                del self.running[member]
        return {MEMBERS: json.dumps(listed)}, not self.running


def run(search, slots, size, lost=()):
    """Runs a search in packs; those named in `lost` die after a step."""
    scheduler = SegmentScheduler(search.coordinator, slots, lambda: None, pack=size)
    running, packs, lost = {}, [], set(lost)
    while True:
        trial_id = f"t{len(packs)}"
        found = scheduler.suggest(trial_id)
        if found == Searcher.FINISHED:
            break
        if found is not None:
            packs.append(Pack(search, found))
            running[trial_id] = packs[-1], found
            continue
        for each, (pack, config) in list(running.items()):
            result, done = pack.step()
            if done:
                del running[each]
                scheduler.on_trial_complete(each, result=result)
                continue
            scheduler.on_trial_result(each, result)
            if pack.name in lost:
                lost.discard(pack.name)
                del running[each]
                lose(scheduler, each, config)
    assert scheduler.error is None
    return packs


def test_a_search_in_packs_runs_to_its_end(tmp_path):
    search = Search(tmp_path, members=8)
    packs = run(search, slots=2, size=4)
    assert search.coordinator.finished
    assert [s.member for s in packs[0].segments] == [DENSE]
    # The dense baseline trains by itself, beside the first pack.
    assert [s.member for s in packs[1].segments] == [0, 1, 2, 3]
    assert packs[0].name == "dense-s000"
    assert packs[1].name == "m00-s000-and-3"
    assert all(len(pack.segments) <= 4 for pack in packs)
    assert search.coordinator.spent["training"] >= 80_000
    snapshots = search.archive.snapshots()
    assert {s.member for s in snapshots} == set(range(8))
    assert len({pack.name for pack in packs}) == len(packs)
    events = [e["event"] for e in search.archive.events()]
    assert events.count("end") == events.count("start")


def test_one_member_that_fails_in_a_pack_is_replaced_and_the_others_go_on(tmp_path):
    search = Search(
        tmp_path, members=4, fails=lambda s: "nan" if (s.member, s.segment) == (2, 1) else ""
    )
    run(search, slots=1, size=4)
    (failure,) = search.coordinator.failures
    assert failure == {"member": 2, "segment": 1, "error": "weights are not finite"}
    snapshots = search.archive.snapshots()
    assert not any((s.member, s.segment) == (2, 1) for s in snapshots)
    assert any((s.member, s.segment) == (2, 2) for s in snapshots)


def test_a_lost_pack_is_run_again_and_makes_the_same(tmp_path):
    whole = Search(tmp_path / "whole", members=4, strategy="random")
    run(whole, slots=1, size=4)
    again = Search(tmp_path / "again", members=4, strategy="random")
    run(again, slots=1, size=4, lost=["m00-s001-and-3"])
    retries = [e["member"] for e in again.archive.events() if e["event"] == "retry"]
    assert retries == [0, 1, 2, 3]
    names = [[s.snapshot_id for s in each.archive.snapshots()] for each in (whole, again)]
    assert sorted(set(names[1])) == sorted(names[1])
    assert {n for n in names[0] if "s001" in n} == {n for n in names[1] if "s001" in n}
    # The repeated iteration of each of the four is part of the budget.
    assert whole.coordinator.spent["training"] == 1_000 * len(names[0])
    assert again.coordinator.spent["training"] == 1_000 * (len(names[1]) + 4)
    assert again.coordinator.failures == []


@pytest.mark.parametrize("strategy", ["random", "pareto_pbt"])
def test_of_a_lost_pack_only_what_is_left_is_trained_again(tmp_path, strategy):
    search = Search(tmp_path, members=4, strategy=strategy)
    scheduler = SegmentScheduler(search.coordinator, 2, lambda: None, pack=2)
    scheduler.suggest("dense")
    config = scheduler.suggest("b")
    pack = Pack(search, config)
    # The second member's segment is short, as where the budget ends.
    short = dataclasses.replace(pack.segments[1], until_env_steps=2_000)
    pack.running[1] = short, search.trainer.train(short)
    for _ in range(3):
        scheduler.on_trial_result("b", pack.step()[0])
    over = search.coordinator._state.members[1].last
    lose(scheduler, "b", config)
    assert over is search.coordinator._state.members[1].last is not None
    left = scheduler.suggest("c")
    assert segments_of(left) == segments_of(config)[:1]
    again, done = Pack(search, left), False
    while not done:
        result, done = again.step()
        if not done:
            scheduler.on_trial_result("c", result)
    scheduler.on_trial_complete("c", result=result)
    trained = 3_000 + 2_000 + pack.segments[0].until_env_steps
    assert search.coordinator.spent["training"] == trained
    retries = [e["member"] for e in search.archive.events() if e["event"] == "retry"]
    assert retries == [0]
    names = [s.snapshot_id for s in search.archive.snapshots()]
    assert len(names) == len(set(names)) == pack.segments[0].until_env_steps // 1_000 + 2
    search.coordinator.close()
    again = Search(tmp_path, members=4, strategy=strategy)
    assert again.coordinator.spent["training"] == trained


def test_what_is_left_of_a_lost_pack_is_handed_out_before_anything_else(tmp_path):
    search = Search(tmp_path, members=6)
    scheduler = SegmentScheduler(search.coordinator, 3, lambda: None, pack=2)
    scheduler.suggest("dense")
    first, second = scheduler.suggest("a"), scheduler.suggest("b")
    for trial_id, config in (("a", first), ("b", second)):
        scheduler.on_trial_result(trial_id, Pack(search, config).step()[0])
        lose(scheduler, trial_id, config)
    before = search.archive.events()
    assert not search.coordinator.finished
    assert [scheduler.suggest("c"), scheduler.suggest("d")] == [second, first]
    assert scheduler.suggest("e") is None
    assert search.archive.events() == before


def test_in_a_folder_of_before_what_finished_members_trained_again_counts(tmp_path):
    """Lost packs were trained again whole."""
    search = Search(tmp_path, members=4)
    run(search, slots=1, size=4)
    spent = search.coordinator.spent
    told = {"member": 2, "env_steps": 700, "evaluation_env_steps": 30}
    search.archive.add_event("again", **told)
    search.archive.add_event("again", **{**told, "member": DENSE})
    assert Search(tmp_path, members=4).coordinator.spent == {
        "training": spent["training"] + 700,
        "baselines": spent["baselines"] + 700,
        "evaluation": spent["evaluation"] + 60,
    }


def test_a_pack_lost_for_good_fails_all_that_is_left_of_it(tmp_path):
    search = Search(tmp_path, members=4)
    scheduler = SegmentScheduler(search.coordinator, 2, lambda: None, pack=2)
    scheduler.suggest("a")
    config = scheduler.suggest("0")
    for number in range(RETRIES + 1):
        assert search.coordinator.failures == []
        scheduler.on_trial_result(f"{number}", Pack(search, config).step()[0])
        lose(scheduler, f"{number}", config)
        following = scheduler.suggest(f"{number + 1}")
        assert (following == config) is (number < RETRIES)
    assert [f["member"] for f in search.coordinator.failures] == [0, 1]
    assert {f["error"] for f in search.coordinator.failures} == {"RuntimeError: the node is gone"}


def test_the_engine_is_what_is_asked_for_or_what_can_be_packed():
    def engine(space=None, **more):
        config = coordinated(members=8, **more)
        if space:
            settings = config.search.model_copy(update={"space": space})
            config = config.model_copy(update={"search": settings})
        return engine_of(config, build_ppo(config)), config

    assert engine()[0].trainable is MemberTrainable
    for asked in ("packed", "auto"):
        found, config = engine(engine=asked)
        assert (found.name, found.trainable) == ("packed", PackTrainable)
        assert found.resources.required_resources == {"CPU": 1.0}
        assert found.slots(config, fit=2) == 2
        assert found.pack_size(config, slots=2) == 4
        assert found.pack_size(config, slots=3) == 3
    found, config = engine(engine="packed", resources={"members_per_pack": 8})
    # One pack, and the dense baseline beside it.
    assert found.slots(config, fit=16) == 2
    assert found.pack_size(config, slots=2) == 8
    found, config = engine(engine="packed", resources={"gpus_per_member": 0.5})
    assert found.resources.required_resources == {"CPU": 1.0, "GPU": 0.5}
    found, config = engine(engine="rllib", resources={"gpus_per_member": 0.5})
    assert found.resources.required_resources["GPU"] == 0.5
    shared = dict(coordinated().search.space)
    shared.pop("training.lr")
    shared["training.minibatch_size"] = IntParameter(type="int", low=32, high=64)
    with pytest.raises(ConfigError, match=r"training.minibatch_size differs from member to member"):
        engine(engine="packed", space=shared)
    assert engine(engine="auto", space=shared)[0].name == "rllib"
    widened = dict(coordinated().search.space)
    widened["training.gamma"] = type(widened["training.lr"])(type="float", low=0.9, high=1.5)
    for asked in ("packed", "auto", "rllib"):
        with pytest.raises(
            ConfigError, match=r"training.gamma = 1.5. expected a number from 0 to 1"
        ):
            engine(engine=asked, space=widened)


class OwnModule(DefaultPPOTorchRLModule):
    """Not RLlib's, whatever it computes."""


@pytest.mark.parametrize("engine", ["packed", "auto"])
def test_a_policy_of_one_s_own_is_packed_where_it_can_be_and_check_says_how(engine):
    config = coordinated(engine=engine)
    settings = PPOSettings(rl_module={"rl_module_spec": f"{__name__}:OwnModule"})
    own = config.model_copy(update={"ppo": settings})
    said = describe_plan(own)
    assert "engine      packed" in said
    assert "stacked     by torch.func.vmap" in said
    assert "torch.func.vmap" not in describe_plan(config)
    costs = [costs_of(ppo, engine_of(c, ppo)) for c in (own, config) for ppo in [build_ppo(c)]]
    assert costs[0].training > costs[1].training > 0.0


@pytest.mark.parametrize("engine", ["packed", "rllib", "auto"])
def test_observations_that_no_engine_has_a_network_for_are_refused_by_check(engine):
    config = coordinated(engine=engine).model_copy(update={"env": "packs:Nested"})
    with pytest.raises(ConfigError, match="Dict"):
        describe_plan(config)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"ppo": {"rl_module": {"model_config": {"use_lstm": True, "max_seq_len": 4}}}},
            "a memory .*LSTM",
        ),
        (
            {"ppo": {"rl_module": {"rl_module_spec": {"module_class": "own_policies:Dropped"}}}},
            "a Dropped that draws random numbers",
        ),
        ({"ppo": {"training": {"grad_clip_by": "value", "grad_clip": 1.0}}}, "grad_clip_by = "),
        ({"ppo": {"env_runners": {"explore": False}}}, "explore = False"),
    ],
)
def test_what_cannot_be_packed_is_refused_by_check_and_left_to_rllib_by_auto(more, said):
    def experiment(engine):
        config = coordinated(engine=engine)
        space = {k: v for k, v in config.search.space.items() if not k.startswith("training.")}
        search = config.search.model_copy(update={"space": space})
        ppo = PPOSettings(**more.get("ppo", {}))
        changed = {"search": search, "ppo": ppo, "env": more.get("env", config.env)}
        return config.model_copy(update=changed)

    packed, auto = experiment("packed"), experiment("auto")
    with pytest.raises(ConfigError, match=rf"{said}[\s\S]*rllib engine"):
        describe_plan(packed)
    assert engine_of(auto, build_ppo(auto)).name == "rllib"
    assert re.search(rf"not packed  .*{said}", describe_plan(auto))


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"lambda_": None}, "training.lambda_ = None; expected a number from 0 to 1"),
        ({"kl_coeff": None}, "training.kl_coeff = None; expected a number of 0 or more"),
        ({"num_epochs": 0}, "training.num_epochs = 0; expected an integer of 1 or more"),
        ({"minibatch_size": 0}, "training.minibatch_size = 0; expected an integer of 1 or more"),
    ],
)
@pytest.mark.parametrize("engine", ["packed", "auto", "rllib"])
def test_what_means_nothing_is_refused_whatever_trains(engine, training, said):
    config = coordinated(engine=engine)
    space = {k: v for k, v in config.search.space.items() if not k.startswith("training.")}
    search = config.search.model_copy(update={"space": space})
    changed = {"search": search, "ppo": PPOSettings(training=training)}
    with pytest.raises(ConfigError, match=re.escape(said)):
        describe_plan(config.model_copy(update=changed))


def test_a_search_goes_on_with_the_engine_that_it_began_with(tmp_path):
    config = coordinated(members=8, engine="auto")
    assert prepare_again(config, tmp_path).engine.name == "packed"
    # As when it began under a version that could not pack such members.
    update_manifest(tmp_path, engine="rllib")
    assert prepare_again(config, tmp_path).engine.name == "rllib"
    update_manifest(tmp_path, engine="packed")
    assert prepare_again(config, tmp_path).engine.name == "packed"
