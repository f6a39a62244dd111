"""Which policy of a results folder is exported: a point of the front, or a baseline by its name."""

import pytest

from rllib_ext.pruning.errors import ResultsError
from search.front.read_results import read_results
from search.runs.export import front_row, opened
from search.store.archive import Archive, Baseline


@pytest.fixture
def results(simulate, tmp_path):
    folder = simulate(tmp_path / "cartpole", members=4).folder
    Archive(folder).add_baseline(
        Baseline(
            name="linear-4", description="", env_steps=1, wall_time=0.0, search_return=0.0,
            kind="linear", nonzero_params=4, total_params=4, sparsity=0.0,
            checkpoint="policies/linear-4",
        )
    )  # fmt: skip
    (folder / "policies" / "linear-4").mkdir(parents=True)
    return read_results(folder)


def test_a_baseline_is_taken_by_its_name(results):
    row = front_row(results, "linear-4")
    assert (row["snapshot_id"], row["policy"]) == ("linear-4", "policies/linear-4")
    assert row["nonzero_params"] == 4
    assert row["figures"] == results.confirmed.figures


@pytest.mark.parametrize("point", ["random", "linear-5"])
def test_what_has_no_policy_is_no_point(results, point):
    with pytest.raises(ResultsError, match=f"no point '{point}'.*a trained baseline's name"):
        front_row(results, point)


def test_a_results_folder_that_lies_elsewhere_is_not_there(tmp_path):
    with pytest.raises(
        ResultsError, match=r"no such folder\..*type the command in the folder that"
    ):
        opened(tmp_path / "cartpole", "m00-s000-i0001", None, print)
    with pytest.raises(ResultsError, match="only a results folder has points"):
        opened(tmp_path, "m00-s000-i0001", None, print)
