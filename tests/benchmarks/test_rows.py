"""A benchmark's CSV: what has a row is known, also after it was read back."""

from benchmarks.shared.rows import append_row, rows_done

COLUMNS = ("env", "seed", "goal", "score")


def test_rows_are_added_below_one_header_and_are_known_afterwards(tmp_path):
    path = tmp_path / "runs.csv"
    assert rows_done(path, ("env", "seed", "goal")) == set()
    for seed, goal in ((0, True), (1, False)):
        append_row(path, COLUMNS, {"env": "A-v1", "seed": seed, "goal": goal, "score": 0.5})
    assert rows_done(path, ("env", "seed", "goal")) == {("A-v1", 0, True), ("A-v1", 1, False)}
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert len(path.read_text().splitlines()) == 3
