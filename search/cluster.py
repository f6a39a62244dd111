"""The Ray cluster that a search runs on: one of its own on this machine, or one that is there."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray._private import ray_constants, services
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rllib_ext.pruning.errors import ConfigError
from search.package import write_package
from search.waiting import Say, each_minute

logger = logging.getLogger(__name__)

# How Ray tells a driver that it is a job, and in what environment its workers run.
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_SEE_SECONDS = 120.0
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
        address: Of the cluster, from a machine that belongs to it; None: one of its own on this machine.
        say: Shows a person, each minute, what is waited for.

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
    with _own_sigterm(), tempfile.TemporaryDirectory() as place:
        environment: dict[str, Any] = {"env_vars": _env_vars()}
        if address and _JOB not in os.environ:
            package = write_package(Path.cwd(), Path(place) / "prunefront.zip")
            environment["working_dir"] = str(package.path)
        try:
            with (
                _loopback_only() if address is None else contextlib.nullcontext(),
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


def refuse_unseen(folder: Path) -> None:
    """Looks whether every node of the cluster sees the results folder.

    Raises:
        ConfigError: One doesn't, so that what its members write would be lost.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return
    mark = folder / f".seen-{uuid4().hex}"
    mark.touch()
    try:
        tasks = {
            ray.remote(os.path.exists)
            .options(
                num_cpus=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            )
            .remote(str(mark)): node["NodeManagerAddress"]
            for node in nodes
        }
        answered, _ = ray.wait(list(tasks), num_returns=len(tasks), timeout=_SEE_SECONDS)
        blind = sorted(
            node for task, node in tasks.items() if task not in answered or not ray.get(task)
        )
    finally:
        mark.unlink()
    if blind:
        raise ConfigError(
            f"{folder} is not seen by {len(blind)} of {len(nodes)} nodes ({', '.join(blind)}), and "
            "members write their policies where they train. Expected a folder that every node sees at "
            "this path, such as a network file system: name it with --output."
        )


def first_line(error: BaseException) -> str:
    """What an error says, in one sentence."""
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
    """Looks whether a head answers at all: Ray itself tries for a quarter of an hour."""
    try:
        known = services.canonicalize_bootstrap_address(address)
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


@contextlib.contextmanager
def _loopback_only() -> Iterator[None]:
    """A cluster that is started meanwhile listens on 127.0.0.1 alone.

    It is what Ray does where clusters of several machines aren't supported; `_node_ip_address` can't ask
    for it, for 127.0.0.1 is replaced by the machine's address.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _env_vars() -> dict[str, str]:
    """What workers need in their environment, but for what their job has set."""
    wanted = {"OMP_NUM_THREADS": "1"}
    job = json.loads(os.environ.get(_JOB) or "{}")
    known = (job.get("runtime_env") or {}).get("env_vars") or {}
    return {name: value for name, value in wanted.items() if name not in known}


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keeps the handler of SIGTERM: Ray sets one of its own that ends the process at once."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
