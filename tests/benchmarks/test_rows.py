"""A benchmark's CSV: what has a row is known, also after it was read back."""

import pytest

from benchmarks.shared.rows import append_row, rows_done, rows_of

COLUMNS = ("env", "seed", "goal", "score")


def test_rows_are_added_below_one_header_and_are_known_afterwards(tmp_path):
    path = tmp_path / "runs.csv"
    assert rows_done(path, ("env", "seed", "goal")) == set()
    for seed, goal in ((0, True), (1, False)):
        append_row(path, COLUMNS, {"env": "A-v1", "seed": seed, "goal": goal, "score": 0.5})
    assert rows_done(path, ("env", "seed", "goal")) == {("A-v1", 0, True), ("A-v1", 1, False)}
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert len(path.read_text().splitlines()) == 3


def test_rows_of_other_settings_are_left_out_and_counted(tmp_path, capsys):
    path = tmp_path / "runs.csv"
    for seed, settings in ((0, "old"), (1, "new"), (2, "new"), (3, "new")):
        append_row(path, ("seed", "settings"), {"seed": seed, "settings": settings})
    found = rows_of(path, {"seed": [0, 1, 2]}, lambda _: "new")
    assert found["seed"].tolist() == [1, 2]
    assert "1 of 3 rows left out" in capsys.readouterr().out
    assert rows_of(path, {"seed": [9]}, lambda _: "new").empty


def test_a_file_that_lacks_a_column_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "runs.csv"
    append_row(path, ("env", "seed"), {"env": "A-v1", "seed": 0})
    for read in (lambda: rows_done(path, COLUMNS), lambda: rows_of(path, {}, lambda _: "new")):
        with pytest.raises(SystemExit, match=r"no column .*--output"):
            read()
