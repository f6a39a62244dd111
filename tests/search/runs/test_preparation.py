"""What is refused is refused by `check` and `search` alike, before there is a folder, a lock or Ray."""

from unittest.mock import Mock

import pytest
import ray
from pretended_search import coordinated

from rllib_ext.pruning.errors import CheckpointError, ConfigError, PrunefrontError
from search.runs.check import describe_plan
from search.runs.preparation import prepare
from search.runs.search import resume_search, run_search
from search.store.folder import CONFIG, update_manifest

LSTM = {"rl_module": {"model_config": {"use_lstm": True}}}
CHOICES = {"type": "choice", "choices": [64, 128]}
REFUSED = [
    ({"engine": "packed", "ppo": LSTM}, "rllib engine"),
    ({"engine": "packed", "search": {"space": {"training.minibatch_size": CHOICES}}}, "share it"),
    ({"env": "no_such_package:Corridor"}, "cannot be imported"),
    ({"env": "CartPol-v1"}, "CartPole"),
    ({"ppo": {"training": {"gamma": 1.5}}}, "from 0 to 1"),
    ({"ppo": {"rl_module": {"model_config": {"fcnet_hidden": [8]}}}}, "mean 'fcnet_hiddens'"),
    ({"env_config": {"suton_barto_reward": True}}, "mean 'sutton_barto_reward'"),
    ({"goal": {"max_weights": 2}}, "members keep 335 of 67,072 weights at least"),
    ({"ppo": {"env_runners": {"observation_filter": "MeanStdFilter"}}}, "ignores it"),
    ({"pruning": {"exclude": ["*"]}}, "no prunable weights"),
    ({"trackers": {"mlflow": {"tracking": "x"}}}, "unknown key 'tracking'"),
    ({"resources": {"cpus_per_member": 4_096}}, "takes 4096 CPU, but the machine has"),
    ({"engine": "packed", "resources": {"cpus_per_member": 4_096}}, "a pack takes 4096 CPU"),
]


@pytest.fixture
def no_ray(monkeypatch):
    def started(*args, **kwargs):
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "init", started)


def search(config, folder):
    run_search(config, folder, command=["prunefront"], display=Mock())


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_check_and_search_refuse_alike_and_write_nothing(changes, message, no_ray, tmp_path):
    config = coordinated(**changes)
    with pytest.raises(ConfigError, match=message) as checked:
        describe_plan(config)
    with pytest.raises(ConfigError, match=message) as searched:
        search(config, tmp_path)
    assert str(searched.value) == str(checked.value)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_is_not_there_is_refused_alike(no_ray, tmp_path):
    config = coordinated(init_checkpoint=str(tmp_path / "none"))
    folder = tmp_path / "results"
    folder.mkdir()
    for refuse in (prepare, describe_plan, lambda c: search(c, folder)):
        with pytest.raises(CheckpointError, match="is not there"):
            refuse(config)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(("changes", "message"), [REFUSED[0], REFUSED[4], REFUSED[11]])
def test_a_search_that_goes_on_is_refused_before_its_folder_changes(
    changes, message, no_ray, tmp_path
):
    (tmp_path / CONFIG).write_text(coordinated(**changes).to_yaml())
    update_manifest(tmp_path, status="interrupted")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(PrunefrontError, match=message):
        resume_search(tmp_path, [], command=["prunefront"], display=Mock())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
