"""`prunefront report`."""

from __future__ import annotations

from pathlib import Path

import click

from search.cli.shared import Folder, summarise


@click.command()
@click.argument("folders", nargs=-1, required=True, type=Folder())
@click.option(
    "--output",
    type=Folder(),
    help="Where a comparison goes. Default: the first folder.",
)
def report(folders: tuple[Path, ...], output: Path | None) -> None:
    """Rebuild the report of a results folder from what is on disk, without Ray.

    Several FOLDERS are compared: their fronts, hypervolumes and what repeats attain, on one page.
    """
    if len(folders) > 1:
        from search.report.write import write_comparison

        page, lines = write_comparison(folders, output or folders[0])
        click.echo(lines)
        click.echo(f"comparison: {page}")
        return
    if output:
        raise click.UsageError(
            "--output is for a comparison of several folders; the report of one stands in it."
        )
    from search.front.read_results import read_results
    from search.report import write_report_of

    summarise(write_report_of(read_results(folders[0])))
