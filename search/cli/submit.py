"""`prunefront submit`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from search.cli.shared import load_experiment
from search.store.folder import refuse_address


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--address", required=True, help="URL of the cluster's job server: http://HEAD:8265.")
@click.option("--output", help="Results folder, as every node of the cluster sees it.")
@click.option("--follow", is_flag=True, help="Show the job's output; end with its exit status.")
def submit(
    config: Path, overrides: tuple[str, ...], address: str, output: str | None, follow: bool
) -> None:
    """Run the search that CONFIG describes as a job of a Ray cluster.

    The working directory goes along, without results, environments, .git, caches and what git
    ignores. On a cluster of several nodes --output names a folder that all of them see.
    """
    from search.runs.check import describe_plan
    from search.runs.preparation import prepare

    if output:
        refuse_address(output, "--output")
    experiment = load_experiment(config, overrides)
    prepared = prepare(experiment)
    from search.cluster.job_server import JobServer
    from search.cluster.submit import output_for, submit_search, what_now

    server = JobServer(address)
    nodes = server.nodes()
    click.echo(describe_plan(experiment, [node.resources for node in nodes], prepared))
    folder = output_for(output, experiment.name, nodes, server.address)
    job, package = submit_search(server, experiment, folder, Path.cwd())
    click.echo(f"sent: {package.files} files, {package.bytes / 2**20:.1f} MiB")
    click.echo(what_now(job, [str(config), *overrides]))
    if follow:
        sys.stdout.flush()
        try:
            status = server.follow(job.id, lambda text: click.echo(text, nl=False))
        except KeyboardInterrupt:
            click.echo(f"\nthe job {job.id} goes on; follow or stop it as above", err=True)
            raise
        if status:
            sys.exit(status)
