"""Connecting to a cluster that doesn't answer; the ports of one of its own."""

import ipaddress
import os
import signal
import subprocess
import sys
import time

import pytest
import ray
from command_line import ROOT, environment
from mute import mute_server, unused_port
from ray._private import utils

from rllib_ext.pruning.errors import ConfigError
from search.cluster import connection as cluster
from search.cluster.waiting import each_minute


def test_a_dead_head_is_told_at_once():
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"--address 127\.0\.0\.2:\d+: .*refused.*From elsewhere"):
        cluster.connect(f"127.0.0.2:{unused_port()}")
    assert time.monotonic() - started < 10


def test_a_head_that_never_says_a_word_is_told(monkeypatch):
    monkeypatch.setattr(cluster, "_ANSWER_SECONDS", 1.0)
    monkeypatch.setattr("ray._private.services.resolve_ip_for_localhost", lambda host: host)
    started = time.monotonic()
    with (
        mute_server() as port,
        pytest.raises(ConfigError, match="nobody answers there within 1 seconds"),
    ):
        cluster.connect(f"127.0.0.1:{port}")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("address", ["127.0.0.2", "nowhere", "127.0.0.2:many"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ConfigError, match=f"--address {address}: .*HOST:PORT"):
        cluster.connect(address)


def test_what_is_waited_for_is_said_again_and_again_until_it_comes():
    told = []
    with each_minute(told.append, lambda: "waiting for rain", seconds=0.05):
        time.sleep(0.4)
    count = len(told)
    assert 2 <= count <= 8
    assert set(told) <= {"waiting for rain (0 min)"}
    time.sleep(0.2)
    assert len(told) == count


def test_sigterm_interrupts_also_while_ray_starts(monkeypatch):
    """Ray's handlers end the process at once: without a word, and with another status."""

    def begin(**how):
        utils.set_sigterm_handler(lambda number, frame: sys.exit(number))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    def interrupt(number, frame):
        raise KeyboardInterrupt

    monkeypatch.setattr(ray, "init", begin)
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            cluster.connect()
        assert signal.getsignal(signal.SIGTERM) is interrupt
    finally:
        signal.signal(signal.SIGTERM, before)


TOLD_TO_END = """
import os, signal, sys, time
from search.cli.main import cli, main
from search.cluster.connection import connect, disconnect

def run(**options):
    connect()
    if sys.argv[1] == "while it is there":
        signal.raise_signal(signal.SIGTERM)
    disconnect()
    signal.raise_signal(signal.SIGTERM)

def slowly(**options):
    try:
        run()
    except KeyboardInterrupt:
        time.sleep(4)
        disconnect()
        raise

cli.main = slowly
main()
"""


@pytest.mark.e2e
@pytest.mark.parametrize("when", ["while it is there", "after it has gone"])
def test_sigterm_interrupts_a_driver_however_long_it_takes_to_end(when):
    """Ray's C++ part has a handler of its own: it writes a stack, and aborts after three seconds."""
    run = subprocess.run(
        [sys.executable, "-c", TOLD_TO_END, when], capture_output=True, text=True, timeout=240,
        env=environment(), cwd=os.curdir, check=False,
    )  # fmt: skip
    assert run.stderr == ""
    assert run.returncode == 130


LISTENERS = """
import os, ray
from command_line import descendants
from listeners import listeners
from search.cluster.connection import connect

connect()

@ray.remote
def work():
    return os.getpid()

ray.get(work.remote())
for name, address in listeners([os.getpid(), *descendants(os.getpid())]):
    print(name, address)
ray.shutdown()
"""


@pytest.mark.e2e
def test_a_cluster_of_its_own_listens_on_the_loopback_interface_only():
    run = subprocess.run(
        [sys.executable, "-c", LISTENERS], capture_output=True, text=True, timeout=240,
        env=environment(ROOT / "tests" / "shared"), cwd=os.curdir, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = [line.rsplit(" ", 1) for line in run.stdout.splitlines()]
    assert {"gcs_server", "raylet"} <= {name for name, _ in found}
    assert any(name.startswith("ray::") for name, _ in found)
    assert [pair for pair in found if not ipaddress.ip_address(pair[1]).is_loopback] == []
