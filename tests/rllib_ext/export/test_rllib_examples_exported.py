"""RLlib's own example modules, out of RLlib."""

import pytest
from export_policies import Chase, small
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from rllib_modules import EXAMPLES

from rllib_ext.export import export_policy
from rllib_ext.export.exporting import Options
from rllib_ext.export.opened import open_saved
from rllib_ext.policy.store import save_policy

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_acts_as_it_does_in_rllib(name, ray_cluster, tmp_path):
    module, observations, actions, model = EXAMPLES[name]
    config = (
        small(Chase, {})
        .environment(Chase, env_config={"observations": observations, "actions": actions})
        .rl_module(rl_module_spec=RLModuleSpec(module_class=module, model_config=model))
    )
    algorithm = config.build_algo()
    try:
        save_policy(algorithm, {}, tmp_path / "policy", {})
    finally:
        algorithm.stop()
    parts, masks, _ = open_saved(tmp_path / "policy")
    options = Options(formats=("numpy", "c", "onnx"), episodes=4, observations=160, measure=False)
    contracts = export_policy(parts, masks, config, tmp_path / "out", options)
    for contract in contracts.values():
        assert contract["verified"]["largest_relative_difference"] <= 1e-5
        assert contract["verified"]["closed_loop"]["equal"]
