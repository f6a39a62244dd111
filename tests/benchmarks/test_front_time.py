import json
import math

import numpy as np
import pandas as pd
import pytest

from benchmarks import front_time
from search.config.loading import load_config
from search.store.folder import provenance


def _folder(tmp_path, **changes):
    told = {"status": "finished", "git_revision": provenance(())["git_revision"]}
    (tmp_path / "manifest.json").write_text(json.dumps({**told, **changes}))
    (tmp_path / "config.yaml").write_text("name: one\n")
    return tmp_path


def test_a_finished_search_is_taken_only_if_it_is_the_one_that_would_run(tmp_path):
    assert "not finished" in front_time.differs(tmp_path / "none", "name: one\n")
    folder = _folder(tmp_path)
    assert front_time.differs(folder, "name: one\n") == ""
    assert "configuration" in front_time.differs(folder, "name: two\n")
    assert "revision" in front_time.differs(_folder(tmp_path, git_revision="0" * 40), "name: one\n")
    assert "not finished" in front_time.differs(_folder(tmp_path, status="failed"), "name: one\n")


@pytest.mark.parametrize("name", list(front_time.CASES))
def test_what_acts_in_training_stays_as_configured(name):
    file = front_time.ROOT / "configs" / f"{name}.yaml"
    plain, run = (load_config(file, overrides) for overrides in ((), front_time.AFTERWARDS))
    kept = {"shifts": plain.evaluation.shifts}
    assert run.evaluation.model_copy(update=kept) == plain.evaluation
    assert (
        plain.model_copy(update={"baselines": run.baselines, "evaluation": run.evaluation}) == run
    )


def _curve(minutes):
    areas = np.linspace(0.5, 1.0, len(minutes))
    return pd.DataFrame({"minutes": minutes, "over_sparsity": areas})


def test_ratios_are_of_the_times_to_all_of_rllibs_hypervolume(capsys):
    slow, fast = _curve([10.0, 20.0, 30.0]), _curve([1.0, 2.0, 3.0])
    never = fast.assign(over_sparsity=fast.over_sparsity * 0.5)
    curves = {"rllib": slow, "packed": fast, "packed, 32 members": never}
    ratios = front_time._print_times("over_sparsity", "over sparsity", curves)
    assert ratios["packed"] == pytest.approx(10.0)
    assert math.isnan(ratios["packed, 32 members"])
    assert "never (at most 50.0%)" in capsys.readouterr().out


def test_ratios_are_paired_by_seed_and_more_members_are_called_optimistic(capsys):
    per_seed = [
        {
            ("packed", "a"): ratio,
            ("packed, 2× the env steps", "a"): ratio - 1.5,
            ("packed, 32 members", "a"): 2 * ratio,
        }
        for ratio in (9.0, 7.0, 10.0, math.nan)
    ]
    front_time._print_ratios("cartpole", [*per_seed, {}])
    packed, going_on, more = capsys.readouterr().out.splitlines()[-3:]
    assert "median 9.0×, 7.0× to 10.0× over 3 of 5 seeds" in packed
    assert "reached with 2 of 5" in packed
    assert "median 7.5×" in going_on
    assert "reached with 1 of 5" in going_on
    assert "optimistic" in more
    assert "optimistic" not in packed
