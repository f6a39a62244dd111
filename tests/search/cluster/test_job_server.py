"""A job server that answers late, or no more."""

import asyncio
import signal
import subprocess
import sys
import threading
import time

import pytest
import ray
from aiohttp import web
from command_line import SMOKE, environment
from mute import mute_server

from rllib_ext.pruning.errors import ConfigError, RunError
from search.cluster import job_server as jobs
from search.cluster.job_server import JobServer


class Pretended:
    """A job server whose jobs are in the states that are listed, one a question, and then in the last.

    Attributes:
        states: Of the job.
        prints: Of the job, sent to whoever follows; None: the socket is never opened.
        sockets: Whether what lies between lets web sockets through.
        mute: Whether nothing is answered any more.
        refusals: How often a job is not taken yet.
    """

    def __init__(self, states, prints=("hello\n", "end\n")):
        self.states, self.prints, self.mute = list(states), prints, False
        self.refusals = 0
        self.sockets = True
        self.asked = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()

    def __enter__(self):
        threading.Thread(
            target=self._loop.run_until_complete, args=(self._serve(),), daemon=True
        ).start()
        assert self._started.wait(30)
        return self

    def __exit__(self, *error):
        self._loop.call_soon_threadsafe(self._over.set)

    async def _serve(self):
        self._over = asyncio.Event()
        app = web.Application()
        app.router.add_get("/api/version", self._version)
        app.router.add_post("/api/jobs/", self._taken)
        app.router.add_get("/api/packages/{scheme}/{name}", self._version)
        app.router.add_get("/api/jobs/{id}", self._job)
        app.router.add_get("/api/jobs/{id}/logs/tail", self._tail)
        app.router.add_get("/api/jobs/{id}/logs", self._logs)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        self._started.set()
        await self._over.wait()
        await runner.cleanup()

    async def _version(self, request):
        return web.json_response(
            {"version": "4", "ray_version": ray.__version__, "ray_commit": "", "session_name": "s"}
        )

    async def _taken(self, request):
        self.refusals -= 1
        if self.refusals >= 0:
            why = "No available agent to submit job, please try again later."
            return web.Response(status=500, text=why)
        return web.json_response({"job_id": "j", "submission_id": "j"})

    async def _job(self, request):
        self.asked += 1
        if self.mute:
            await asyncio.sleep(3600)
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return web.json_response(
            {"type": "SUBMISSION", "status": state, "entrypoint": "", "message": "of no node yet",
             "submission_id": "j", "driver_exit_code": 0 if state == "SUCCEEDED" else None}
        )  # fmt: skip

    async def _logs(self, request):
        return web.json_response({"logs": "".join(self.prints)})

    async def _tail(self, request):
        if not self.sockets:
            return web.Response(status=403)
        if self.prints is None:
            await asyncio.sleep(3600)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for text in self.prints:
            await socket.send_str(text)
        if self.states[0] == "RUNNING":
            await asyncio.sleep(3600)
        await socket.close()
        return socket


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(jobs, "_TIMEOUTS", (1.0, 1.0))
    monkeypatch.setattr(jobs, "_SILENT_SECONDS", 0.5)
    monkeypatch.setattr(jobs, "_LOST_SECONDS", 3.0)
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.05)
    monkeypatch.setattr(jobs, "SAY_SECONDS", 0.3)


def test_a_server_that_accepts_and_does_not_answer_is_told():
    started = time.monotonic()
    with mute_server() as port, pytest.raises(ConfigError, match=r"nobody answers at .*timed out"):
        JobServer(f"http://127.0.0.1:{port}")
    assert time.monotonic() - started < 20


def test_a_head_that_has_just_started_is_asked_until_it_takes_the_job(tmp_path, monkeypatch):
    (tmp_path / "main.py").touch()
    with Pretended(["RUNNING"]) as server:
        server.refusals = 4
        assert JobServer(server.address).hand_in("true", tmp_path) == "j"
        assert server.refusals == -1
        server.refusals = 10**6
        monkeypatch.setattr(jobs, "_STARTING_SECONDS", 0.3)
        with pytest.raises(ConfigError, match="No available agent"):
            JobServer(server.address).hand_in("true", tmp_path)


def test_what_a_job_waits_for_is_said_and_what_it_prints_is_shown_once():
    told = []
    with Pretended(["PENDING"] * 10 + ["RUNNING"] * 3 + ["SUCCEEDED"]) as server:
        assert JobServer(server.address).follow("j", told.append) == 0
    text = "".join(told)
    assert "waiting: the job has not started: of no node yet\n" in text
    assert text.count("hello\n") == text.count("end\n") == 1


def test_a_job_ends_though_nobody_sends_what_it_prints():
    with (
        Pretended(["RUNNING", "RUNNING", "FAILED"], prints=None) as server,
        pytest.raises(RunError, match="the job j failed: of no node yet"),
    ):
        JobServer(server.address).follow("j", print)


def test_a_job_ends_though_a_proxy_lets_no_socket_through():
    told = []
    with Pretended(["RUNNING", "RUNNING", "SUCCEEDED"]) as server:
        server.sockets = False
        assert JobServer(server.address).follow("j", told.append) == 0
    assert "".join(told).endswith("hello\nend\n")


def test_a_server_that_falls_silent_is_lost_after_a_while():
    told = []
    with Pretended(["RUNNING"]) as server:
        client = JobServer(server.address)
        server.mute = True
        with pytest.raises(RunError, match=r"answers no more: .*The job j goes on there"):
            client.follow("j", told.append)
    assert any("waiting: http" in line and "does not answer" in line for line in told)


@pytest.mark.e2e
def test_ctrl_c_ends_the_wait_for_a_mute_server(tmp_path):
    with mute_server() as port:
        process = subprocess.Popen(
            [sys.executable, "-m", "search", "submit", str(SMOKE), "--address", f"http://127.0.0.1:{port}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment(),
        )  # fmt: skip
        try:
            _wait_until_connected(process, port)
            process.send_signal(signal.SIGINT)
            _, messages = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 130, messages
    assert "Traceback" not in messages


def _wait_until_connected(process, port):
    """Until the process has a connection to the port."""
    until = time.monotonic() + 240
    wanted = f"0100007F:{port:04X}"
    while True:
        assert process.poll() is None
        assert time.monotonic() < until
        with open("/proc/net/tcp") as table:
            if any(line.split()[2] == wanted for line in table):
                break
        time.sleep(0.2)
    time.sleep(1)
