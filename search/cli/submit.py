"""`prunefront submit`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from search.cli.output import Output, output_options
from search.cli.shared import load_experiment
from search.store.folder import refuse_address


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--address", required=True, help="URL of the cluster's job server: http://HEAD:8265.")
@click.option("--output", help="Results folder, as every node of the cluster sees it.")
@click.option("--follow", is_flag=True, help="Show the job's output; end with its exit status.")
@output_options
def submit(
    config: Path,
    overrides: tuple[str, ...],
    address: str,
    output: str | None,
    follow: bool,
    output_to: Output,
) -> None:
    """Run the search that CONFIG describes as a job of a Ray cluster.

    The working directory goes along, without results, environments, .git, caches and what git
    ignores. On a cluster of several nodes --output names a folder that all of them see. With --quiet or
    --json the job writes so too, and --follow passes its events on.
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
    plan = describe_plan(experiment, [node.resources for node in nodes], prepared)
    folder = output_for(output, experiment.name, nodes, server.address)
    if output_to.json is None and not output_to.quiet:
        click.echo(plan)
    job, package = submit_search(server, experiment, folder, Path.cwd(), output_to.flag)
    if output_to.json is None:
        click.echo(f"sent: {package.files} files, {package.bytes / 2**20:.1f} MiB")
        click.echo(what_now(job, [str(config), *overrides]))
    else:
        output_to.json.emit("submitted", job=job.id, address=job.address, results=job.output)
    if follow:
        sys.stdout.flush()
        try:
            with output_to.passed_on() as write:
                status = server.follow(job.id, write)
        except KeyboardInterrupt:
            output_to.interrupted(f"the job {job.id} goes on; follow or stop it as above")
            raise
        if status:
            sys.exit(status)
