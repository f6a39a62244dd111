"""Spaces as environments have them: parts of any name, bounds that a float32 can't hold."""

import gymnasium as gym
import numpy as np
from export_policies import TWO, box, chase, flattened

from rllib_ext.export import export_policy, load
from rllib_ext.export.exporting import Options
from rllib_ext.export.opened import untrained

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
