"""What TensorBoard shows of a pruned training, written by Tune's own logger."""

import struct
from pathlib import Path

import pytest
from ray.tune.logger import TBXLoggerCallback
from tensorboardX.proto import event_pb2

from rllib_ext import PruningConfig, with_pruning

pytestmark = pytest.mark.ray


class Trial:
    """What the logger reads of a Tune trial."""

    def __init__(self, folder: Path) -> None:
        self.local_path = self.path = str(folder)
        self.config: dict = {}
        self.evaluated_params: dict = {}

    def init_local_path(self) -> None:
        """Nothing: the folder is there."""


def tags_in(folder: Path) -> dict[str, float]:
    values = {}
    for file in folder.glob("events*"):
        data, at = file.read_bytes(), 0
        while at < len(data):
            # Length (8 bytes), its checksum (4), the event, its checksum (4).
            (length,) = struct.unpack("<Q", data[at : at + 8])
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            values |= {value.tag: value.simple_value for value in event.summary.value}
    return values


def test_sparsities_threshold_events_and_patience_are_scalars(small_ppo, tmp_path) -> None:
    pruning = PruningConfig(
        schedule="plateau", threshold=0.1, horizon=1000, begin=0.0, random_return=20.0
    )
    algorithm = with_pruning(small_ppo(), pruning, evaluated_outside=True).build_algo()
    try:
        result = algorithm.train()
    finally:
        algorithm.stop()
    logger, trial = TBXLoggerCallback(), Trial(tmp_path)
    logger.log_trial_start(trial)
    logger.log_trial_result(1, trial, result)
    logger.log_trial_end(trial)
    tags = {tag.removeprefix("ray/tune/pruning/") for tag in tags_in(tmp_path)}
    assert {
        "sparsity",
        "critic_sparsity",
        "threshold",
        "target_sparsity",
        "patience_left",
        "plateau_step",
        "events/pruned",
        "events/held",
        "events/rolled_back",
        "events/regrown",
    } <= tags
    assert {tag for tag in tags if tag.startswith("layers/")} == {
        f"layers/{name}" for name in result["pruning"]["layers"]
    }
