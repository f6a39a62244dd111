"""What `prunefront evaluate` prints of a results folder."""

import math

from search.front.generalisation import ShiftedEpisodes, add_shifted
from search.report.generalisation_text import generalisation_text
from search.report.notebook import load


def shifted(folder, shift, *policies, returned):
    for policy in policies:
        record = ShiftedEpisodes(
            shift=shift, settings={}, policy=policy, seeds=[1, 2], returns=returned, lengths=[1, 1]
        )
        add_shifted(folder, record)


def test_a_shift_under_which_nothing_returned_a_number_is_said_to_be_one(simulate, tmp_path):
    results = load(simulate(tmp_path / "search", members=4).folder)
    point = str(results.points["snapshot_id"].iloc[0])
    shifted(results.folder, "gravity = 15", "dense", "random", returned=[8.0, 9.0])
    shifted(results.folder, "gravity = 0", point, "dense", "random", returned=[math.nan, 9.0])
    found = load(results.folder)
    assert generalisation_text(found, "gravity = 15").startswith(
        "gravity = 15, 2 episodes a policy\n"
    )
    told = generalisation_text(found, "gravity = 0")
    assert told == "gravity = 0: no policy returned what is a number in all of its episodes"
