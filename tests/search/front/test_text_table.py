import pytest

from search.front.text_table import text_table

ROWS = [("a", "1.5", "x"), ("long name", "−10,000", ""), ("z", "3")]


def test_columns_are_as_wide_as_their_cells_and_flush_with_their_side():
    assert text_table(("<", ">return", "<note"), ROWS) == [
        "            return  note",
        "a              1.5  x",
        "long name  −10,000",
        "z                3",
    ]


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_what_is_printed_depends_on_no_terminal(monkeypatch, variable):
    before = text_table(("<", ">return", "<note"), ROWS)
    monkeypatch.setenv("COLUMNS", "10")
    monkeypatch.setenv(variable, "1")
    assert text_table(("<", ">return", "<note"), ROWS) == before


def test_names_are_no_markup():
    cells = ("[red]x[/red]", ":smile:", "[/]", "pi.*")
    head, line = text_table(("<a", "<b", "<c", "<d"), [cells])
    assert line.split() == list(cells)
    assert head.split() == ["a", "b", "c", "d"]


def test_a_table_may_have_no_rows():
    assert text_table(("<policy", ">return"), []) == ["policy  return"]
