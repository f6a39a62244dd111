"""Spaces as environments have them: parts of any name, bounds that a float32 can't hold."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from export_policies import TWO, box, chase, flattened, small
from ray.rllib.connectors.env_to_module import FlattenObservations, MeanStdFilter

from rllib_ext import with_preprocessing
from rllib_ext.export import export_policy, load
from rllib_ext.export.errors import ExportError
from rllib_ext.export.exporting import Options
from rllib_ext.export.forms import FORMATS
from rllib_ext.export.opened import untrained
from rllib_ext.export.source import source_of
from rllib_ext.pruning.errors import ConfigError

SHORT = {"episodes": 2, "observations": 40, "measure": False}


def test_parts_may_be_called_anything(tmp_path):
    observations = gym.spaces.Dict(
        {
            "walker/joints pos": box(2),
            "a_b": box(1),
            "a": gym.spaces.Dict({"b": box(1)}),
            "a.b": box(2),
        }
    )
    actions = gym.spaces.Dict({"left-arm": TWO, "left_arm": TWO})
    config = flattened(chase(observations, actions))()
    contracts = export_policy(untrained(config), {}, config, tmp_path, Options(**SHORT))
    seen = {"walker/joints pos": [1, -1], "a_b": [2], "a": {"b": [-3]}, "a.b": [4, 5]}
    expected = load(tmp_path / "numpy").outputs(seen)
    for kind, contract in contracts.items():
        inputs = {tuple(part["path"]): part["name"] for part in contract["inputs"]}
        assert set(inputs) == {("walker/joints pos",), ("a_b",), ("a", "b"), ("a.b",)}
        assert len(set(inputs.values())) == 4
        assert inputs["walker/joints pos",] == "observation_walker_joints_pos"
        policy = load(tmp_path / kind)
        assert set(policy(seen)) == {"left-arm", "left_arm"}
        found = policy.outputs(seen)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-5, err_msg=f"{kind} {name}")


class Strict(gym.Env):
    """Refuses actions out of its bounds, which are doubles, as many environments do."""

    observation_space = box(3)
    action_space = gym.spaces.Box(-0.1, 0.3, (2,), np.float64)

    def __init__(self, config=None):
        pass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.np_random.normal(size=3).astype(np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        seen = self.np_random.normal(size=3).astype(np.float32)
        return seen, float(action.sum()), self.steps >= 10, False, {}


class Half(Strict):
    """Bounds in a format that RLlib takes no notice of."""

    action_space = gym.spaces.Box(-0.5, 2, (2,), np.float16)

    def step(self, action):
        self.action_space = box(2)
        return super().step(action)


@pytest.mark.parametrize("unsquashed", [True, False])
def test_no_action_is_out_of_bounds_that_a_float_cannot_hold(tmp_path, unsquashed):
    config = small(Strict, {}).environment(normalize_actions=unsquashed, clip_actions=True)
    parts = untrained(config)
    with torch.no_grad():
        # Most actions lie at a bound.
        parts.module.pi.net.mlp[0].weight.mul_(100)
    export_policy(parts, {}, config, tmp_path, Options(**SHORT))
    many = np.random.default_rng(0).normal(size=(200, 3))
    for kind in FORMATS:
        actions = load(tmp_path / kind)(many)
        assert all(map(Strict.action_space.contains, actions)), kind
        assert np.isclose(actions, -0.1).any()
        assert np.isclose(actions, 0.3).any()


@pytest.mark.parametrize(
    "space", [gym.spaces.MultiBinary(3), gym.spaces.Box(-5, 5, (3,), np.int64)], ids=str
)
def test_a_filter_that_cuts_to_whole_numbers_is_refused(space):
    config = chase(space, TWO)().env_runners(
        env_to_module_connector=lambda env, spaces, device: [MeanStdFilter(), FlattenObservations()]
    )
    with pytest.raises(ExportError, match="Put FlattenObservations before it"):
        source_of(untrained(config), {})
    # As it says.
    source_of(untrained(flattened(chase(space, TWO), MeanStdFilter)()), {})


@pytest.mark.parametrize(
    ("observations", "actions", "kind"),
    [(box(4), TWO, "observations"), (box(3), gym.spaces.Discrete(3), "actions")],
)
def test_an_environment_that_the_policy_does_not_fit_is_refused(
    tmp_path, observations, actions, kind
):
    parts = untrained(chase(box(3), TWO)())
    with pytest.raises(ConfigError, match=f"the policy's {kind} are .* and those of .*--env"):
        export_policy(parts, {}, chase(observations, actions)(), tmp_path, Options(**SHORT))
    other = chase(box(3, high=1e6, dtype=np.float64), TWO)()
    assert export_policy(parts, {}, other, tmp_path, Options(formats=("numpy",), **SHORT))


def test_actions_of_half_precision_are_left_as_rllib_leaves_them(tmp_path):
    config = small(Half, {})
    options = Options(formats=("numpy",), **SHORT)
    contract = export_policy(untrained(config), {}, config, tmp_path, options)["numpy"]
    assert contract["verified"]["closed_loop"]["equal"]


@pytest.mark.parametrize(
    ("how", "note"),
    [
        ({"clip_obs": 2.0}, "observation clipped to ±2.0"),
        ({"normalize": True}, "observation filter: minus mean, divided by standard deviation of "),
    ],
)
def test_a_note_says_what_is_done_to_observations(how, note):
    config = with_preprocessing(small("Pendulum-v1", {}), **how)
    assert source_of(untrained(config), {}).program.notes[0].startswith(note)
