"""Five of RLlib's own examples through a whole search: every policy is as sparse as its record says."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import searched_example
from command_line import environment
from pruning_oracle import Paths, check_units, count, paths_of
from ray.rllib.core.rl_module.rl_module import RLModule

from search import load

pytestmark = [pytest.mark.ray, pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.parametrize(
    ("name", "granularity"),
    [
        ("TinyAtariCNN", "weight"),
        ("LSTMContainingRLModule", "neuron"),
        ("separate_vf_lr_and_optimizer", "weight"),
        ("connectors/flatten_observations_dict_space", "neuron"),
        ("envs/NestedSpaceRepeatAfterMeEnv", "weight"),
    ],
)
def test_an_example_is_searched(name, granularity, tmp_path):
    program = Path(searched_example.__file__)
    done = subprocess.run(
        [sys.executable, program, name, granularity, tmp_path / "out"],
        capture_output=True, text=True, timeout=420, cwd=tmp_path, check=False,
        env=environment(program.parent),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    results = load(tmp_path / "out")
    assert (results.folder / "report.html").is_file()
    paths = paths_of_example(name, tmp_path)
    looked_at = 0
    for record in results.records:
        saved = results.folder / record.checkpoint / "rl_module"
        if saved.is_dir():
            module = RLModule.from_checkpoint(saved.resolve())
            zeros, total = count(paths.weights(module, paths.policy))
            assert (record.nonzero_params, record.total_params) == (total - zeros, total)
            assert math.isclose(record.sparsity, zeros / total)
            if granularity == "neuron" and zeros:
                check_units(module, paths)
            looked_at += zeros > 0
    assert looked_at, "the search kept no pruned policy"


def paths_of_example(name: str, folder: Path) -> Paths:
    """As RLlib alone builds it."""
    algorithm = searched_example.example(name).build(folder).build_algo()
    try:
        return paths_of(algorithm)
    finally:
        algorithm.stop()
