"""Tune goes on when Ray's memory monitor kills an actor."""

import os

import pytest
import ray
from ray import tune

from search.training.memory_kills import survived

pytestmark = pytest.mark.ray


class Dies(tune.Trainable):
    """Its process is gone in the second iteration, once."""

    def setup(self, config):
        self.mark = config["mark"]

    def step(self):
        if self.iteration == 1 and not os.path.exists(self.mark):
            open(self.mark, "x").close()
            os._exit(1)
        return {"done": self.iteration == 2}

    def save_checkpoint(self, checkpoint_dir):
        return {}

    def load_checkpoint(self, checkpoint):
        pass


class Raises(Dies):
    """Raises what Ray raises, in a process that lives."""

    def step(self):
        if self.iteration == 1:
            raise ray.exceptions.OutOfMemoryError("of its own")
        return {}


@pytest.fixture
def deaths_for_memory(monkeypatch):
    """Every dead actor is said to have been killed because memory ran low."""
    get = ray.get

    def said(*args, **kwargs):
        try:
            return get(*args, **kwargs)
        except ray.exceptions.ActorDiedError as error:
            raise ray.exceptions.OutOfMemoryError("the node is low on memory") from error

    monkeypatch.setattr(ray, "get", said)


def run(trainable, folder, failures):
    return tune.Tuner(
        trainable,
        param_space={"mark": str(folder / "mark")},
        run_config=tune.RunConfig(
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=failures),
        ),
    ).fit()


def test_the_trial_of_a_killed_actor_is_tried_again(tmp_path, deaths_for_memory):
    with survived():
        (result,) = run(Dies, tmp_path, failures=1)
    assert result.error is None
    assert result.metrics["done"]


def test_ray_alone_still_ends_the_run(tmp_path, deaths_for_memory):
    with pytest.raises(RuntimeError, match="unexpected exception"):
        run(Dies, tmp_path, failures=1)


def test_what_a_trial_raises_is_its_own_failure(tmp_path):
    with survived():
        (result,) = run(Raises, tmp_path, failures=0)
    assert "of its own" in str(result.error)
