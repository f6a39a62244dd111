"""`prunefront init`: what it writes for an environment is what `check` takes as it is."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import assert_refused, prunefront

from rllib_ext.pruning.errors import ConfigError
from search.cli.main import cli
from search.config.loading import load_config

OWN = """
import gymnasium
import numpy as np
from gymnasium import spaces


class Maze(gymnasium.Env):
    observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
    action_space = spaces.Discrete(3)
    steps = 7

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self.seen(), {}

    def step(self, action):
        self.count += 1
        return self.seen(), 1.0, self.count >= self.steps, False, {}

    def seen(self):
        return self.observation_space.sample()


class Sized(Maze):
    def __init__(self, size):
        self.observation_space = spaces.Box(-1.0, 1.0, (size,), np.float32)


class Camera(Maze):
    observation_space = spaces.Box(0, 255, (30, 24, 3), np.uint8)


class Dicts(Maze):
    observation_space = spaces.Dict(
        {"place": spaces.Box(-1.0, 1.0, (3,), np.float32), "key": spaces.Discrete(4)}
    )
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)


class Cards(Maze):
    observation_space = spaces.Box(0, 9, (5,), np.int64)


class DictsWithCamera(Maze):
    observation_space = spaces.Dict({"eye": Camera.observation_space, "key": spaces.Discrete(4)})


class Channels(Maze):
    observation_space = spaces.Box(0.0, 1.0, (3, 84, 84), np.float32)


class Told(Maze):
    observation_space = spaces.Dict({"order": spaces.Text(8), "key": spaces.Discrete(4)})


class Buttons(Maze):
    action_space = spaces.MultiBinary(3)


class Broken(Maze):
    def step(self, action):
        raise RuntimeError("out of petrol")
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working directory with environments of one's own."""
    (tmp_path / "init_envs.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("init_envs", None)


def init(*words):
    return CliRunner().invoke(cli, ["init", "--env", *words])


def written(*words, as_file):
    """The configuration, which `check` has taken as it is."""
    ended = init(*words)
    assert ended.exit_code == 0, ended.exception
    assert f"written: {as_file}\nnext: prunefront search {as_file}\n" in ended.output
    checked = CliRunner().invoke(cli, ["check", as_file])
    assert checked.exit_code == 0, checked.exception
    return load_config(Path(as_file))


def refused(here, message, *words):
    ended = init(*words)
    assert isinstance(ended.exception, ConfigError), ended.output
    assert message in str(ended.exception)
    assert not list(here.glob("*.yaml"))


def test_cartpole(here):
    config = written("CartPole-v1", as_file="cartpole.yaml")
    assert (config.name, config.env) == ("cartpole", "CartPole-v1")
    assert config.ppo.rl_module["model_config"]["fcnet_hiddens"] == [64, 64]
    assert config.ppo.preprocess.normalize is False
    assert "its limit is 500" in (here / "cartpole.yaml").read_text().replace("\n# ", " ")


def test_pendulum_is_normalised():
    config = written("Pendulum-v1", as_file="pendulum.yaml")
    assert config.ppo.preprocess.normalize is True
    assert config.ppo.rl_module["model_config"]["free_log_std"] is True


def test_an_own_class(here):
    config = written("init_envs:Maze", as_file="maze.yaml")
    assert (config.name, config.env) == ("maze", "init_envs:Maze")
    told = (here / "maze.yaml").read_text().replace("\n# ", " ")
    assert "Episodes of a random policy have 7 steps on average; it names no limit." in told


def test_an_own_class_with_an_argument(here):
    refused(here, "the environment Sized needs size", "init_envs:Sized")
    config = written("init_envs:Sized", "--set", "size=70", as_file="sized.yaml")
    assert config.env_config == {"size": 70}
    assert config.ppo.rl_module["model_config"]["fcnet_hiddens"] == [128, 128]


def test_images_get_a_cnn():
    config = written("init_envs:Camera", as_file="camera.yaml")
    # Its bytes come as floats, without which RLlib's CNN fails and packs take none.
    assert config.env == "rllib_ext.envs.float_images:FloatImages"
    assert config.env_config == {"env": "init_envs:Camera"}
    assert config.ppo.rl_module["model_config"]["conv_filters"] == [[16, 4, 2], [32, 4, 2]]


def test_a_memory_is_an_lstm():
    config = written("CartPole-v1", "--memory", "--output", "m.yaml", as_file="m.yaml")
    assert config.ppo.rl_module["model_config"]["use_lstm"] is True


@pytest.mark.parametrize(
    ("env", "as_file"),
    [
        ("init_envs:Dicts", "dicts.yaml"),
        ("init_envs:Cards", "cards.yaml"),
        ("FrozenLake-v1", "frozenlake.yaml"),
    ],
)
def test_dicts_and_whole_numbers_are_flattened(env, as_file):
    config = written(env, as_file=as_file)
    connector = config.ppo.env_runners["env_to_module_connector"]
    assert connector.endswith(":FlattenObservations")


def test_extras_are_named():
    assert written("LunarLander-v3", as_file="lunarlander.yaml").extras == ("box2d",)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("CartPol-v1", "Did you mean: `CartPole`?"),
        ("CartPole-v9", "Did you mean 'CartPole-v1'?"),
        ("ALE/Pong-v5", "pip install ale-py"),
        ("init_envs:Nope", "has no attribute 'Nope'"),
        ("no_such_module:Maze", "cannot be imported"),
        ("init_envs:DictsWithCamera", "observations hold images beside other things"),
        ("init_envs:Told", "observations hold text, which no network of RLlib's own reads"),
        ("init_envs:Channels", "expects height, width, channels"),
        (
            "init_envs:Buttons",
            "actions are MultiBinary(3); expected a Box, Discrete or MultiDiscrete",
        ),
        ("init_envs:Broken", "an episode at random fails: RuntimeError: out of petrol"),
    ],
)
def test_what_no_configuration_fits_is_refused_and_nothing_is_written(here, env, message):
    refused(here, message, env)


def test_no_file_is_overwritten(here):
    (here / "cartpole.yaml").write_text("mine")
    ended = init("CartPole-v1")
    assert "cartpole.yaml is there already. Name another file with --output" in str(ended.exception)
    assert (here / "cartpole.yaml").read_text() == "mine"


def test_a_folder_that_is_not_there_is_named(here):
    refused(here, "nowhere is not a folder", "CartPole-v1", "--output", "nowhere/a.yaml")


@pytest.mark.e2e
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("Camera", marks=pytest.mark.slow),
        "Dicts",
        pytest.param("Cards", marks=pytest.mark.slow),
    ],
)
def test_what_was_written_trains(here, kind):
    """The network reads what the environment gives: bytes of an image, a dict, whole numbers."""
    assert init(f"init_envs:{kind}").exit_code == 0
    small = [
        "budget={env_steps: 4_096}",
        "population={members: 2, segments: 1}",
        "search.strategy=random",
        "ppo.training.num_epochs=1",
        "ppo.training.minibatch_size=1024",
        "evaluation={episodes: 2, candidates: 2, selection_episodes: 5, report_episodes: 5}",
        "baselines={random_masks: 0, small_dense: 0, train_then_prune: 0, linear: 0, tree: 0}",
    ]
    name = kind.lower()
    run = prunefront("search", f"{name}.yaml", *small, "--output", here / "out", cwd=here)
    assert run.returncode == 0, run.stderr
    again = prunefront("init", "--env", f"init_envs:{kind}", cwd=here)
    assert_refused(again, f"{name}.yaml is there already")
