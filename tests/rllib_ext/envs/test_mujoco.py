"""MuJoCo's environments can be built with the extra of the name, and without noise."""

import subprocess
import sys

import pytest

BUILDS = """
import logging
logging.basicConfig()
import gymnasium
import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from rllib_ext import PruningConfig, with_pruning
from rllib_ext.envs.env_maker import env_maker

config = PPOConfig().environment("HalfCheetah-v5", env_config={{"max_episode_steps": 5}})
config.env_runners(num_env_runners={runners})
make = env_maker(config)
for _ in range(9):
    env = make()
    env.reset(seed=1)
    env.close()
pruned = with_pruning(config, PruningConfig(final_sparsity=0.5, horizon=100))
if {runners}:
    pruned.env(pruned.env_config).reset(seed=1)
else:
    SingleAgentEnvRunner(config=pruned).env.reset(seed=1)
if {unstable}:
    env = make()
    for seed in (1, 2):
        env.reset(seed=seed)
        env.unwrapped.data.qpos[:] = np.nan
        env.step(env.action_space.sample())
"""


@pytest.mark.ray
@pytest.mark.parametrize(("runners", "unstable"), [(0, True), (2, False)])
def test_one_line_at_most_and_no_log_file(runners, unstable, tmp_path):
    script = BUILDS.format(runners=runners, unstable=unstable)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    told = [line for line in (ended.stdout + ended.stderr).splitlines() if "MuJoCo" in line]
    assert len(told) == unstable, ended.stderr
    noise = [line for line in ended.stderr.splitlines() if "deprecated" in line]
    assert not [line for line in noise if "compiler" in line]
    assert list(tmp_path.iterdir()) == []
