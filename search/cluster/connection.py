"""The Ray cluster that a search runs on: one of its own on this machine, or one that is there."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from rllib_ext.pruning.errors import ConfigError
from search.cluster.machines import amounts, offered
from search.cluster.own_packages import held_in_workers
from search.cluster.package import write_package
from search.cluster.ray_private import (
    canonicalize_bootstrap_address,
    loopback_only,
    sigterm_left_alone,
)
from search.cluster.waiting import Say, each_minute

logger = logging.getLogger(__name__)

# How Ray tells a driver that it is a job, and in what environment its workers run.
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
# How long a head may take to take a connection, and to say its first word.
_ANSWER_SECONDS = 15.0
# How every HTTP/2 connection begins, which gRPC speaks: the preface, and settings that change nothing.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def connect(address: str | None = None, say: Say = logger.warning) -> None:
    """Connects to a Ray cluster, quietly.

    Workers of a cluster that is there already are sent the working directory and prunefront, so that
    they run this code and can import an environment of the user's; a job has sent them before. A cluster
    of one's own listens on the loopback interface only: whoever reaches its ports may run code.

    Args:
        address: The cluster's, from a machine that belongs to it; None: one of its own on this machine.
        say: Callback for a message each minute about what is waited for.

    Raises:
        ConfigError: There is no cluster, or it lets nobody in.
    """
    _refuse_other_protocols(address)
    if address is not None:
        _refuse_silent(address)
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Errors of what was running when a search ends by another one.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    # What Tune would print of a failed trial is in its folder, tune/<segment>/error.txt.
    for name in ("execution.tune_controller", "execution.experiment_state", "tune"):
        logging.getLogger(f"ray.tune.{name}").setLevel(logging.CRITICAL)
    with sigterm_left_alone(), tempfile.TemporaryDirectory() as place:
        environment: dict[str, Any] = {"env_vars": _env_vars()}
        if address is None:
            environment["worker_process_setup_hook"] = held_in_workers()
        if address and _JOB not in os.environ:
            package = write_package(Path.cwd(), Path(place) / "prunefront.zip")
            environment["working_dir"] = str(package.path)
        try:
            with (
                loopback_only() if address is None else contextlib.nullcontext(),
                each_minute(say, lambda: f"waiting for Ray at {address or 'this machine'}"),
            ):
                ray.init(
                    address=address or "local",
                    include_dashboard=None if address else False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=True,
                    runtime_env=environment,
                )
        except (ConnectionError, ray.exceptions.AuthenticationError, RuntimeError) as error:
            if address is None:
                raise
            raise _no_cluster(address, first_line(error)) from error


def disconnect() -> None:
    """Leaves the cluster, or ends the one that was started here; nothing happens where there is none."""
    with sigterm_left_alone():
        ray.shutdown()


def waits_for(what: str, needed: Mapping[str, float], avoided: Sequence[str] = ()) -> str:
    """Returns a message about what is waited for while nothing runs.

    Args:
        what: Kind of work that can't begin: "member", "pack" or "task".
        needed: By one of them, by resource.
        avoided: Addresses of nodes where it may not run.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    free = ray.available_resources()
    left = " and ".join(f"{free.get(name, 0.0):g} {name}" for name in needed if needed[name])
    text = (
        f"waiting for room for a {what}, which takes {amounts(needed)}: the cluster has "
        f"{offered(nodes)}, of which {left} are free"
    )
    return f"{text}; {', '.join(avoided)} can't be used" if avoided else text


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".:") + "."


def _refuse_other_protocols(address: str | None) -> None:
    protocol = (address or "").partition("://")[0] if "://" in (address or "") else ""
    if protocol in ("http", "https"):
        raise ConfigError(
            f"--address {address} is a job server. Hand the search in there with `prunefront submit`, "
            "or name the cluster from one of its machines: auto, or HOST:PORT."
        )
    if protocol:
        raise ConfigError(
            f"--address {address}: a search needs its driver on a machine of the cluster. Expected auto "
            "or HOST:PORT there; from elsewhere: prunefront submit."
        )


def _refuse_silent(address: str) -> None:
    """Checks whether a head answers at all: Ray itself tries for a quarter of an hour."""
    try:
        known = canonicalize_bootstrap_address(address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, first_line(error)) from error
    if known is None:
        raise _no_cluster(address, "no cluster runs on this machine.")
    host, _, port = known.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS) as head:
            head.sendall(_GREETING)
            said = head.recv(1)
    except TimeoutError as error:
        silence = f"nobody answers there within {_ANSWER_SECONDS:.0f} seconds."
        raise _no_cluster(address, silence) from error
    except (OSError, ValueError) as error:
        raise _no_cluster(address, first_line(error)) from error
    # Who expects TLS hangs up on a plain greeting, but is there.
    if not said and os.environ.get("RAY_USE_TLS", "0") in ("", "0"):
        raise _no_cluster(address, "who answers there is no head of a Ray cluster.")


def _no_cluster(address: str, reason: str) -> ConfigError:
    return ConfigError(
        f"--address {address}: {reason} Expected a Ray cluster that this machine belongs to (auto, or "
        "HOST:PORT as `ray start` shows it), with RAY_AUTH_MODE=token and its token where it asks for "
        "one. From elsewhere: prunefront submit."
    )


def _env_vars() -> dict[str, str]:
    """Returns environment variables that workers need, except those that their job has set."""
    wanted = {"OMP_NUM_THREADS": "1"}
    job = json.loads(os.environ.get(_JOB) or "{}")
    known = (job.get("runtime_env") or {}).get("env_vars") or {}
    return {name: value for name, value in wanted.items() if name not in known}
