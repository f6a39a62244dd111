"""The head of a Ray cluster on this machine, with a job server, in processes of its own."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from command_line import alive, descendants, environment, wait_until

PORTS = (
    "port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port",
    "runtime-env-agent-port", "metrics-export-port", "ray-client-server-port",
)  # fmt: skip


class Head:
    """Where a head listens, and what its guests need in their environment."""

    def __init__(self):
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.arguments = [f"--{name}={port}" for name, port in ports.items()]
        self.jobs = f"http://127.0.0.1:{ports['dashboard-port']}"
        self.cluster = f"127.0.0.1:{ports['port']}"
        self.token = secrets.token_hex(16)

    @property
    def environment(self):
        # Jobs run the `python` of the head's path.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {
            **environment(), "PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token
        }  # fmt: skip

    def run(self, *arguments, cwd, **variables):
        """Runs the command line as a guest of the cluster."""
        return subprocess.run(
            [sys.executable, "-m", "prunefront", *map(str, arguments)],
            capture_output=True, text=True, timeout=420, cwd=cwd, check=False,
            env={**self.environment, **variables},
        )  # fmt: skip

    def answers(self):
        request = urllib.request.Request(
            f"{self.jobs}/nodes?view=summary", headers={"Authorization": f"Bearer {self.token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return b'"ALIVE"' in answer.read().replace(b" ", b"")
        except (urllib.error.URLError, OSError):
            return False


@contextlib.contextmanager
def ray_head():
    """A head that asks for a token; ended by its process ids."""
    # Ray's sockets lie below: their path must be short.
    place = Path(tempfile.mkdtemp(prefix="prunefront-", dir="/tmp"))
    head = Head()
    with (place / "out").open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
             f"--temp-dir={place}", "--min-worker-port=0", "--max-worker-port=0", "--num-cpus=2",
             "--dashboard-host=127.0.0.1", "--disable-usage-stats", *head.arguments],
            stdout=out, stderr=out, cwd=place, env=head.environment, start_new_session=True,
        )  # fmt: skip
    try:
        until = time.monotonic() + 300
        while not head.answers():
            assert process.poll() is None, (place / "out").read_text()
            assert time.monotonic() < until, (place / "out").read_text()
            time.sleep(0.5)
        yield head
    finally:
        children = descendants(process.pid)
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)
        wait_until(lambda: not any(map(alive, children)), 30)
        shutil.rmtree(place, ignore_errors=True)


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
