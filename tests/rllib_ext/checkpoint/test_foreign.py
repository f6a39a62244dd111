"""Checkpoints of other libraries are called what they are."""

import zipfile

import pytest

from rllib_ext.checkpoint.foreign import foreign
from rllib_ext.checkpoint.reading import check_layout
from rllib_ext.pruning.errors import CheckpointError

# What Stable-Baselines3 2.x writes; what is in the files is never read.
WRITTEN = (
    "data",
    "pytorch_variables.pth",
    "policy.pth",
    "policy.optimizer.pth",
    "_stable_baselines3_version",
    "system_info.txt",
)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "ppo_cartpole.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in WRITTEN:
            archive.writestr(name, "")
    return path


def test_a_zip_of_stable_baselines3_is_called_one(model):
    with pytest.raises(
        CheckpointError, match=r"cartpole\.zip is a model of Stable-Baselines3\. Only"
    ):
        check_layout(model)


def test_so_is_what_was_unpacked(model, tmp_path):
    zipfile.ZipFile(model).extractall(tmp_path / "unpacked")
    with pytest.raises(CheckpointError, match="unpacked is a model of Stable-Baselines3"):
        check_layout(tmp_path / "unpacked")


def test_any_other_zip_file_and_folder_is_none(tmp_path):
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("data", "")
    (tmp_path / "text").write_text("policy.pth")
    for path in (other, tmp_path / "text", tmp_path, tmp_path / "nowhere"):
        assert foreign(path) == ""
