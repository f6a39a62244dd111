"""Ray clusters of several nodes on this machine: each a process of its own, on an address of its own."""

import contextlib
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from command_line import alive, descendants, environment, wait_until
from ray_head import free_ports

# Without fixed ones a raylet waits for its agents to tell theirs, and gives up on a busy machine.
PORTS = (
    "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port",
    "metrics-export-port", "node-manager-port", "object-manager-port",
)  # fmt: skip


class Nodes:
    """A cluster: its head, whose node has the address 127.0.0.2, and nodes that join and go.

    Args:
        place: Of its temporary files; a short path, for Ray's sockets lie below.
    """

    def __init__(self, place):
        self.place = place
        self.processes = {}
        self.token = secrets.token_hex(16)
        self.address = f"127.0.0.2:{free_ports(1)[0]}"

    @property
    def environment(self):
        return {
            **environment(), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token,
            # A node that is killed is missed soon.
            "RAY_health_check_initial_delay_ms": "5000", "RAY_health_check_period_ms": "1000",
        }  # fmt: skip

    def start_head(self, cpus=0):
        ip, _, port = self.address.partition(":")
        self._start(
            ip, cpus, "--head", f"--port={port}", "--include-dashboard=false",
            f"--ray-client-server-port={free_ports(1)[0]}",
        )  # fmt: skip

    def add(self, ip, cpus, *, without=None):
        """Starts a node.

        Args:
            ip: Its address.
            cpus: That it offers.
            without: A folder that it doesn't see: something empty lies over it.
        """
        self._start(ip, cpus, f"--address={self.address}", without=without)

    def kill(self, ip):
        """Ends a node at once, with all that runs there."""
        process = self.processes.pop(ip)
        family = [process.pid, *descendants(process.pid)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        process.wait()
        wait_until(lambda: not any(map(alive, family)), 30)

    def messages(self, ip):
        return (self.place / ip).read_text()

    def _start(self, ip, cpus, *arguments, without=None):
        # On a busy machine Ray itself gives up on a node after half a minute.
        for attempts_left in (2, 1, 0):
            process = self._process(ip, cpus, *arguments, without=without)
            until = time.monotonic() + 240
            while "Ray runtime started." not in self.messages(ip) and process.poll() is None:
                assert time.monotonic() < until, self.messages(ip)
                time.sleep(0.5)
            if process.poll() is None:
                return
            late = "timed out during startup" in self.messages(ip)
            assert late, self.messages(ip)
            assert attempts_left, self.messages(ip)

    def _process(self, ip, cpus, *arguments, without):
        ports = zip(PORTS, free_ports(len(PORTS)), strict=True)
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={ip}",
            f"--num-cpus={cpus}", "--num-gpus=0", "--min-worker-port=0", "--max-worker-port=0",
            "--object-store-memory=100000000", "--disable-usage-stats", *arguments,
            *(f"--{name}={port}" for name, port in ports),
        ]  # fmt: skip
        if "--head" in arguments:
            command.append(f"--temp-dir={self.place}")
        if without is not None:
            hidden = (
                f"mount -t tmpfs none {shlex.quote(str(without))} && exec {shlex.join(command)}"
            )
            command = ["unshare", "--mount", "sh", "-c", hidden]
        with (self.place / ip).open("w") as out:
            self.processes[ip] = subprocess.Popen(
                command, stdout=out, stderr=out, cwd=self.place, env=self.environment,
                start_new_session=True,
            )  # fmt: skip
        return self.processes[ip]


@contextlib.contextmanager
def ray_nodes(cpus=0):
    """A cluster whose head offers some CPUs; all of it is ended by process ids."""
    place = Path(tempfile.mkdtemp(prefix="prunefront-", dir="/tmp"))
    nodes = Nodes(place)
    try:
        nodes.start_head(cpus)
        yield nodes
    finally:
        for ip in reversed(list(nodes.processes)):
            nodes.kill(ip)
        shutil.rmtree(place, ignore_errors=True)
