"""The pick's episode beside its policy: filmed once, apart, and a sentence where it can't be."""

import dataclasses
import json
import os
import time

import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.policy.store import load_policy, save_policy
from rllib_ext.rl.with_pruning import build_algorithm
from search import load
from search.evaluation import episode
from search.evaluation.episode import film_the_pick
from search.report.episode import episode_of
from search.report.page import page
from search.store.archive import Archive
from search.store.folder import MOVING

pytest.importorskip("PIL.Image", reason="no Pillow: extra render")
pytest.importorskip("pygame", reason="no pygame: extra render")
pytestmark = pytest.mark.ray


class Crashes(CartPoleEnv):
    """Its pictures take the process along."""

    def render(self):
        os._exit(3)


class Sleeps(CartPoleEnv):
    """Its pictures take for ever."""

    def render(self):
        time.sleep(60)


class Raises(CartPoleEnv):
    """Its pictures can't be drawn."""

    def render(self):
        raise RuntimeError("no such device")


@pytest.fixture
def results(simulate, small_ppo, tmp_path):
    """A results folder whose front's policies are real, and have returned what they really return."""
    folder = simulate(tmp_path / "results", members=6, segments=4, limit=2).folder
    algorithm = build_algorithm(small_ppo())
    try:
        for name in load(folder).front["snapshot_id"]:
            save_policy(algorithm, {}, folder / "policies" / name, {})
    finally:
        algorithm.stop()
    return load(folder)


def picked(results):
    return (
        results.folder
        / results.front.set_index("snapshot_id").loc[results.confirmed.pick(results.pick), "policy"]
    )


def noted(results):
    return json.loads((picked(results) / "metadata.json").read_text())


def test_the_median_episode_is_played_again_once_and_the_page_shows_it(results, small_ppo):
    phases = []
    policy = load_policy(picked(results))
    evaluator = Evaluator(env_maker(small_ppo()))
    seeds = list(range(70, 81))
    real = evaluator.run(policy, seeds)
    evaluator.close()
    archive = Archive(results.folder)
    report = next(
        e for e in archive.evaluations()
        if e.purpose == "report" and e.snapshot_id == picked(results).name
    )  # fmt: skip
    played = dataclasses.replace(
        report, seeds=seeds, returns=list(real.returns), lengths=list(real.lengths)
    )
    results = dataclasses.replace(
        results, evaluations=[played if e == report else e for e in results.evaluations]
    )
    film_the_pick(results, small_ppo(), phases.append)
    told = noted(results)["episode"]
    assert told["returned"] == np.median(real.returns)
    assert told["steps"] == real.lengths[seeds.index(told["seed"])]
    written = (picked(results) / MOVING).stat().st_mtime_ns
    film_the_pick(results, small_ppo(), phases.append)
    assert (picked(results) / MOVING).stat().st_mtime_ns == written
    assert len(phases) == 1
    text = page(load(results.folder))
    assert text.count('data-moving="data:image/webp;base64,') == 1
    assert f"seed {told['seed']}" in text


@pytest.mark.parametrize(
    ("env", "why"), [(Crashes, "died"), (Raises, "no such device"), (Sleeps, "within 5 seconds")]
)
def test_what_goes_wrong_is_a_sentence_of_the_page_and_nothing_more(
    results, small_ppo, monkeypatch, env, why
):
    if env is Sleeps:
        monkeypatch.setattr(episode, "SECONDS", 5.0)
    film_the_pick(results, small_ppo(env), lambda title: None)
    assert not (picked(results) / MOVING).exists()
    assert why in noted(results)["episode_note"]
    told = episode_of(results, {"policy": picked(results).relative_to(results.folder)})
    assert told.text.startswith("No film of an episode: ")
