"""A search as a job of a Ray cluster."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import ray

from rllib_ext.pruning.errors import ConfigError
from search.cluster.job_server import JobServer, Node
from search.cluster.package import Package, write_package
from search.config.experiment import ExperimentConfig
from search.store.folder import refuse_address

CONFIG_IN_PACKAGE = "prunefront-job.yaml"
CHECKPOINT_IN_PACKAGE = "prunefront-init-checkpoint"
_LOCALHOST = {"localhost", "127.0.0.1", "::1"}


@dataclasses.dataclass(frozen=True)
class Job:
    """A submitted job.

    Attributes:
        id: Ray's id of the job.
        address: The job server's address.
        output: The results folder, as the cluster's nodes see it.
    """

    id: str
    address: str
    output: str


def output_for(output: str | None, name: str, nodes: Sequence[Node], address: str) -> str:
    """Returns the folder on the cluster's nodes for the results.

    Args:
        output: Folder asked for; None if none was.
        name: The experiment's.
        nodes: The cluster.
        address: The job server's address.

    Returns:
        An absolute path, or one under the home folder ("~/…") of the user who runs Ray there.

    Raises:
        ConfigError: Not every node would see it, or it is an address.
    """
    if output:
        refuse_address(output, "--output")
    if output and output.startswith(("/", "~/")):
        return output
    if len(nodes) > 1:
        given = f"--output {output}" if output else "no --output"
        raise ConfigError(
            f"{given}: the cluster has {len(nodes)} nodes, and a folder of one of them is not seen by "
            "the others. Expected an absolute path that every node sees, such as a network file system."
        )
    if _is_here(nodes, address):
        return str(Path.cwd() / (output or _default(name, "results")))
    if output:
        raise ConfigError(
            f"--output {output} is relative to this machine, and the cluster is another. Expected an "
            "absolute path there, or ~/…; without --output it is ~/prunefront-results/…"
        )
    return _default(name, "~/prunefront-results")


def entrypoint(output: str, flag: str = "") -> str:
    """Returns the command that a job runs; if it is run again, the search goes on.

    Args:
        output: The results folder.
        flag: Flag for its output, such as "--json".
    """
    return (
        f"python -m prunefront search {CONFIG_IN_PACKAGE} --address auto --resume-or-start "
        f"--output {_in_shell(output)} {flag}".rstrip()
    )


def submit_search(
    server: JobServer, config: ExperimentConfig, output: str, root: Path, flag: str = ""
) -> tuple[Job, Package]:
    """Submits a search as a job.

    Args:
        server: Where.
        config: The experiment; it goes along resolved.
        output: Folder as returned by `output_for`.
        root: The working directory, which is sent along.
        flag: Flag for the job's output, as for `entrypoint`.

    Raises:
        ConfigError: The package is too large, or the cluster takes no job.
    """
    with tempfile.TemporaryDirectory() as place:
        extra: dict[str, str | Path] = {}
        if config.init_checkpoint is not None:
            extra[CHECKPOINT_IN_PACKAGE] = Path(config.init_checkpoint)
            config = config.model_copy(update={"init_checkpoint": CHECKPOINT_IN_PACKAGE})
        extra[CONFIG_IN_PACKAGE] = config.to_yaml()
        package = write_package(root, Path(place) / "prunefront.zip", extra)
        job = server.hand_in(entrypoint(output, flag), package.path)
    return Job(job, server.address, output), package


def what_now(job: Job, asked: Sequence[str]) -> str:
    """Returns instructions to follow, stop or repeat a job, and to fetch its results.

    Args:
        job: The job.
        asked: The configuration and the overrides, as they were typed.
    """
    host = urlsplit(job.address).hostname
    head = "HEAD" if host in _LOCALHOST else host
    name = Path(job.output).name
    return "\n".join(
        (
            f"job: {job.id}",
            f"results: {job.output} on the cluster",
            f"follow: ray job logs --address {job.address} --follow {job.id}",
            f"stop: ray job stop --address {job.address} {job.id}",
            f"go on, should it end too early: prunefront submit {shlex.join(asked)} --address "
            f"{job.address} --output {_in_shell(job.output)}",
            f"bring back: rsync -a {head}:{_in_shell(job.output)}/ results/{shlex.quote(name)}/",
        )
    )


def _in_shell(path: str) -> str:
    """A path as a shell takes it, with ~ for the home folder of whoever runs it."""
    return f"~/{shlex.quote(path[2:])}" if path.startswith("~/") else shlex.quote(path)


def _default(name: str, parent: str) -> str:
    return f"{parent}/{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def _is_here(nodes: Sequence[Node], address: str) -> bool:
    """Whether a cluster of one node is this very machine, not the far end of a tunnel."""
    known = {*_LOCALHOST, ray.util.get_node_ip_address(), socket.gethostname()}
    return urlsplit(address).hostname in known and all(node.address in known for node in nodes)
