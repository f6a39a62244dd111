"""A Ray cluster's job server: what is there, handing a job in, following it to its end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ray

from rllib_ext.base.extras import install
from rllib_ext.pruning.errors import ConfigError, RunError
from search.cluster.connection import first_line
from search.cluster.waiting import SAY_SECONDS

# What a driver ends with when it did what its command line says it does.
DRIVER_STATUSES = (0, 1, 2, 130)
INTERRUPTED = 130
_PENDING, _ENDED = "PENDING", {"SUCCEEDED", "FAILED", "STOPPED"}
# Between two looks at a job; of nothing printed until its state is looked at; of no answer until the
# connection is lost.
_POLL_SECONDS, _SILENT_SECONDS, _LOST_SECONDS = 1.0, 30.0, 120.0
# A head that has just started answers before it takes jobs: what it says then, and for how long at most.
_NOT_YET, _STARTING_SECONDS = "No available agent", 60.0
# How long the server may take to accept a connection, or a part of what is sent; and to answer.
_TIMEOUTS = (15.0, 60.0)


@dataclasses.dataclass(frozen=True)
class Node:
    """A machine of a cluster.

    Attributes:
        address: Its IP address.
        resources: Amounts that it offers, by resource.
    """

    address: str
    resources: Mapping[str, float]


class JobServer:
    """A cluster's job server.

    A token (`RAY_AUTH_MODE=token`) goes along with every request, as Ray's own command line sends it.

    Args:
        address: Its URL, such as "http://head:8265".

    Raises:
        ConfigError: Nobody answers, or lets us in; the cluster runs another Ray; or an extra is missing.
    """

    def __init__(self, address: str) -> None:
        self.address = address if "://" in address else f"http://{address}"
        if urlsplit(self.address).scheme not in ("http", "https"):
            raise ConfigError(
                f"--address {address} is no job server. Expected the URL of the head's dashboard, such "
                "as http://head:8265."
            )
        _require_extra()
        for module in ("dashboard_sdk", "job.sdk"):
            logging.getLogger(f"ray.dashboard.modules.{module}").setLevel(logging.ERROR)
        with self._understood(), _no_other_address():
            self._client = _client(self.address)
        theirs = self._client._server_ray_version
        if theirs != ray.__version__:
            raise ConfigError(
                f"the cluster at {self.address} runs Ray {theirs}, and this is Ray {ray.__version__}: a "
                "search needs the same. Install it on the cluster, or here."
            )

    def nodes(self) -> list[Node]:
        """The cluster's machines that are alive.

        Raises:
            ConfigError: There is none yet, or they can't be listed.
        """
        from ray.util.state import list_nodes

        with self._understood(), _no_other_address():
            listed = list_nodes(
                address=self.address, filters=[("state", "=", "ALIVE")], limit=10_000
            )
        if not listed:
            raise ConfigError(
                f"the cluster at {self.address} has no node yet. Wait until `ray status` there lists "
                "one."
            )
        return [Node(node.node_ip, dict(node.resources_total or {})) for node in listed]

    def hand_in(self, entrypoint: str, package: Path) -> str:
        """Starts a job, as soon as a head that has just started takes it; returns its id."""
        runtime_env = {"working_dir": str(package)}
        until = time.monotonic() + _STARTING_SECONDS
        with self._understood():
            while True:
                try:
                    job = self._client.submit_job(entrypoint=entrypoint, runtime_env=runtime_env)
                    return str(job)
                except RuntimeError as error:
                    if _NOT_YET not in str(error) or time.monotonic() >= until:
                        raise
                time.sleep(_POLL_SECONDS)

    def follow(self, job_id: str, write: Callable[[str], object]) -> int:
        """Shows a job's output until it ends.

        Args:
            job_id: The job.
            write: Callback for each piece of the output.

        Returns:
            The exit status of its driver: 0, 1, 2 or 130; 130 too where the job was stopped.

        Raises:
            RunError: The connection is lost for good, and the job goes on; or the job failed without a
                word of its driver's: it never began, was killed, or was lost with its node.
        """
        shown = 0

        def show(text: str) -> None:
            nonlocal shown
            shown += len(text)
            write(text)

        heard = told = time.monotonic()
        while True:
            try:
                info = self._client.get_job_info(job_id)
                heard = time.monotonic()
                status = str(info.status.value)
                waits_for = f"the job has not started: {info.message}" if status == _PENDING else ""
                if status in _ENDED:
                    self._show_rest(job_id, lambda: shown, show)
                    break
                if not waits_for:
                    asyncio.run(self._tail(job_id, shown, show))
            # The connection of a long search breaks now and then, in as many ways as there are proxies.
            except Exception as error:
                waits_for = f"{self.address} does not answer: {first_line(error)}"
                if time.monotonic() - heard > _LOST_SECONDS:
                    raise RunError(
                        f"{self.address} answers no more: {first_line(error)} The job {job_id} goes on "
                        "there; follow it again when it answers."
                    ) from error
            if not waits_for:
                told = time.monotonic()
            elif time.monotonic() - told >= SAY_SECONDS:
                told = time.monotonic()
                write(f"waiting: {waits_for}\n")
            time.sleep(_POLL_SECONDS)
        return _exit_status(job_id, status, info.driver_exit_code, info.message)

    def _show_rest(
        self, job_id: str, shown: Callable[[], int], show: Callable[[str], object]
    ) -> None:
        """Shows what an ended job printed and nobody has seen: its end isn't waited for again."""
        try:
            asyncio.run(self._tail(job_id, shown(), show))
        # Many proxies pass no web sockets on, but what is asked for at once.
        except Exception:  # noqa: BLE001
            with contextlib.suppress(Exception):
                show(self._client.get_job_logs(job_id)[shown() :])

    async def _tail(self, job_id: str, shown: int, show: Callable[[str], object]) -> None:
        """Shows what comes after the first `shown` characters, until nothing comes for a while."""
        messages = aiter(self._client.tail_job_logs(job_id))
        passed = 0
        with contextlib.suppress(StopAsyncIteration, TimeoutError):
            while True:
                text = await asyncio.wait_for(anext(messages), _SILENT_SECONDS)
                new = text[max(0, shown - passed) :]
                passed += len(text)
                if new:
                    show(new)

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        """Turns what Ray raises of a cluster that can't be used into one clear error."""
        from ray.util.state.exception import ServerUnavailable

        try:
            yield
        except ray.exceptions.AuthenticationError as error:
            raise ConfigError(
                f"the cluster at {self.address} lets nobody in without its token: {first_line(error)} "
                "Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to what `ray "
                "get-auth-token` says on the head."
            ) from error
        except (ConnectionError, OSError, ServerUnavailable) as error:
            raise ConfigError(
                f"nobody answers at {self.address}: {first_line(error)} Expected the dashboard of a Ray "
                "cluster's head, started with ray[default] installed. Where it listens on the head "
                "only, make a tunnel: ssh -L 8265:localhost:8265 HEAD."
            ) from error
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                f"the job server at {self.address} refuses: {first_line(error)} Expected the dashboard "
                f"of a cluster with Ray {ray.__version__} and ray[default]."
            ) from error


def _client(address: str) -> Any:
    """Ray's own client, which alone would wait for ever for an answer."""
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):
        def _do_request(self, method: str, endpoint: str, **how: Any) -> Any:
            return super()._do_request(method, endpoint, **{"timeout": _TIMEOUTS, **how})

    return Client(address)


def _exit_status(job_id: str, status: str, driver: int | None, message: str | None) -> int:
    """A job's exit status, from what the server says of its end.

    Raises:
        RunError: It failed without a word of its driver's.
    """
    if status == "SUCCEEDED":
        return 0
    if status == "STOPPED":
        return INTERRUPTED
    if driver in DRIVER_STATUSES and driver:
        return driver
    reason = (message or "").strip().partition("\n")[0].partition(", last available logs")[0]
    raise RunError(
        f"the job {job_id} failed: {reason.rstrip('.') or 'nobody says why'}. Handed in again with the "
        "same --output, its search goes on."
    )


@contextlib.contextmanager
def _no_other_address() -> Iterator[None]:
    """Hides the variables that Ray prefers to an address that it is given."""
    names = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _require_extra() -> None:
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"submitting jobs needs {error.name}, which Ray's extra `default` brings. Install it: "
            f"{install('cluster')}."
        ) from error
