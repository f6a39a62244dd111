"""Rebuilds every file of a report from what is on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import vl_convert

from rllib_ext.pruning.errors import ResultsError
from search.front.comparison import compare
from search.front.read_results import read_results
from search.front.results import Results
from search.report.charts.comparison import fronts_chart
from search.report.charts.front import front_chart
from search.report.comparison_markdown import comparison_markdown
from search.report.comparison_page import comparison_page, comparison_text
from search.report.earlier import keep_earlier
from search.report.markdown import markdown
from search.report.page import page, still
from search.store import tables
from search.store.files import write_aside, write_text

# Twice the screen's pixels, so that the picture is sharp in a README.
PNG_SCALE = 2.0


def write_report(folder: Path) -> Path:
    """Writes the report of a results folder from what is on disk.

    Args:
        folder: The results folder.

    Returns:
        The path of `report.html`.

    Raises:
        ResultsError: The folder can't be reported; the message says how to mend it.
    """
    return write_report_of(read_results(folder)).page


def write_report_of(results: Results) -> Results:
    """Writes tables, `report.html`, `report.md`, `front.png` and `front.svg` into a results folder.

    Loads no Ray and no torch and unpickles nothing. Where the folder has lost something, the report that
    is there is kept in `earlier/`.

    Args:
        results: Current contents of the folder.

    Returns:
        What the report shows: the results, and where an earlier report was kept, notes that say so.
    """
    if keep_earlier(results) is not None:
        # Notes are made with the figures, which a copy makes anew.
        results = dataclasses.replace(results)
    picture = still(front_chart(results, "weights", 760, 420))
    html, text = page(results), markdown(results)
    png = vl_convert.vegalite_to_png(picture, scale=PNG_SCALE)
    svg = vl_convert.vegalite_to_svg(picture)
    results.write_tables()
    write_aside(results.folder / "front.png", lambda aside: aside.write_bytes(png))
    write_text(results.folder / "front.svg", svg)
    write_text(results.folder / "report.md", text)
    write_text(results.page, html)
    return results


def write_comparison(folders: Sequence[Path], output: Path) -> tuple[Path, str]:
    """Writes `comparison.html`, `.md`, `.csv`, `.png` and `.svg` of several searches.

    Args:
        folders: Results folders of one environment, two or more.
        output: The folder to write into; made when missing.

    Returns:
        The path of `comparison.html`, and the comparison in a few lines of text.

    Raises:
        ResultsError: A folder can't be reported, or the searches can't be compared.
    """
    comparison = compare([read_results(folder) for folder in folders])
    try:
        output.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise ResultsError(
            f"--output: {output} can't be made a folder ({error.strerror}). Name a folder, or a place "
            "for a new one."
        ) from error
    html = comparison_page(comparison)
    picture = still(fronts_chart(comparison, 760, 420))
    png = vl_convert.vegalite_to_png(picture, scale=PNG_SCALE)
    svg = vl_convert.vegalite_to_svg(picture)
    tables.write_csv(output / "comparison.csv", comparison.searches)
    write_aside(output / "comparison.png", lambda aside: aside.write_bytes(png))
    write_text(output / "comparison.svg", svg)
    write_text(output / "comparison.md", comparison_markdown(comparison))
    write_text(output / "comparison.html", html)
    return output / "comparison.html", comparison_text(comparison)
