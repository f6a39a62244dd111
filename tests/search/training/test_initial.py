import dataclasses
from types import SimpleNamespace

import pytest
from pretended_search import coordinated

import search.runs.retrain
import search.training.initial
from rllib_ext.pruning.errors import CheckpointError, ConfigError
from search.runs.check import describe_plan
from search.runs.preparation import prepare, prepare_again
from search.store.archive import Archive
from search.training.initial import INITIAL, initial_of, kept_initial
from search.training.ppo_config import build_ppo

SMALL = {"rl_module": {"model_config": {"fcnet_hiddens": [16, 16]}}}


@pytest.mark.ray
def test_a_checkpoint_of_the_same_network_is_taken_and_others_are_refused(ppo_checkpoint):
    fits = coordinated(init_checkpoint=str(ppo_checkpoint), ppo=SMALL)
    initial = initial_of(fits, build_ppo(fits))
    assert {w.shape for w in initial.weights.values()} >= {(16, 4), (16, 16), (2, 16), (1, 16)}
    assert "engine" in describe_plan(fits)
    with pytest.raises(ConfigError, match="holds another network"):
        describe_plan(coordinated(init_checkpoint=str(ppo_checkpoint)))
    with pytest.raises(ConfigError, match="holds another network"):
        prepare(coordinated(init_checkpoint=str(ppo_checkpoint)))


@pytest.mark.ray
def test_a_checkpoint_that_cannot_be_the_teacher_is_refused_before_anything_trains(
    ppo_checkpoint, monkeypatch
):
    config = coordinated(init_checkpoint=str(ppo_checkpoint), ppo=SMALL, pruning={"distil": 1.0})
    ppo = build_ppo(config)
    assert initial_of(config, ppo) is not None
    found = dataclasses.replace(initial_of(config, ppo), filters={"MeanStdFilter": {}})
    monkeypatch.setattr(search.training.initial, "read_initial", lambda _: found)
    monkeypatch.setattr(search.training.initial, "refuse_other_network", lambda *_: None)
    with pytest.raises(ConfigError, match="don't see the same"):
        initial_of(config, ppo)


def test_without_a_checkpoint_members_start_afresh(tmp_path):
    config = coordinated()
    assert initial_of(config, build_ppo(config)) is None
    assert kept_initial(config, tmp_path) == ""
    with pytest.raises(CheckpointError, match="is not there"):
        prepare(coordinated(init_checkpoint=str(tmp_path / "none")))


def test_members_start_from_what_their_own_search_keeps(tmp_path):
    (tmp_path / INITIAL).touch()
    config = coordinated(init_checkpoint="somewhere")
    assert kept_initial(config, tmp_path) == str(tmp_path / INITIAL)
    # A search that asks for none starts afresh, whatever lies in its folder or the one around it.
    inner = tmp_path / "inner"
    inner.mkdir()
    assert kept_initial(coordinated(), inner) == kept_initial(coordinated(), tmp_path) == ""
    with pytest.raises(CheckpointError, match=r"initial\.pkl is missing.*Bring it back"):
        kept_initial(config, inner)


@pytest.mark.parametrize("asked", [None, "somewhere"])
def test_replays_start_from_what_their_search_started_from(tmp_path, monkeypatch, asked):
    (tmp_path / INITIAL).touch()
    (tmp_path / "retrain").mkdir()
    config, told = coordinated(init_checkpoint=asked), []

    def train(*arguments, initial, timed_form):
        told.append(initial)

    monkeypatch.setattr(search.runs.retrain, "train", train)
    monkeypatch.setattr(search.runs.retrain, "slots_of", lambda *_: 1)
    coordinator = SimpleNamespace(finished=False, replays=[])
    display = SimpleNamespace(phase=lambda title: None)
    if asked:
        (tmp_path / INITIAL).rename(tmp_path / "elsewhere")
        with pytest.raises(CheckpointError, match=r"initial\.pkl is missing"):
            prepare_again(config, tmp_path)
        (tmp_path / "elsewhere").rename(tmp_path / INITIAL)
    prepared = prepare_again(config, tmp_path)
    search.runs.retrain._train(
        config, prepared, Archive(tmp_path / "retrain"), coordinator, display
    )
    assert told == [str(tmp_path / INITIAL) if asked else ""]
