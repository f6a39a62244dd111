import socket
import sys

import pytest

from rllib_ext.pruning.errors import ConfigError, RunError
from search.cluster.job_server import JobServer, Node, _exit_status
from search.cluster.submit import Job, entrypoint, output_for, what_now

FAR = Node("10.0.0.5", {"CPU": 8.0})
URL = "http://head:8265"


def test_a_cluster_of_several_nodes_needs_a_path_that_all_see():
    nodes = [FAR, Node("10.0.0.6", {"CPU": 8.0})]
    for given in (None, "out", "./out"):
        with pytest.raises(ConfigError, match="2 nodes, and a folder of one of them is not seen"):
            output_for(given, "x", nodes, URL)
    assert output_for("/shared/out", "x", nodes, URL) == "/shared/out"
    assert output_for("~/out", "x", nodes, URL) == "~/out"


def test_another_machine_by_itself_takes_its_home_or_an_absolute_path():
    assert output_for(None, "x", [FAR], URL).startswith("~/prunefront-results/x-")
    assert output_for("/data/out", "x", [FAR], URL) == "/data/out"
    with pytest.raises(ConfigError, match="relative to this machine, and the cluster is another"):
        output_for("out", "x", [FAR], URL)
    # The far end of a tunnel.
    with pytest.raises(ConfigError, match="the cluster is another"):
        output_for("out", "x", [FAR], "http://localhost:8265")


def test_this_machine_by_itself_takes_what_is_relative_to_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = [Node("127.0.0.1", {"CPU": 2.0})]
    local = "http://localhost:8265"
    assert output_for("out", "x", here, local) == str(tmp_path / "out")
    assert output_for(None, "x", here, local).startswith(f"{tmp_path}/results/x-")


def test_addresses_are_refused_with_the_mend():
    with pytest.raises(ConfigError, match="mounted bucket"):
        output_for("s3://bucket/out", "x", [FAR], URL)
    with pytest.raises(ConfigError, match=r"Expected a path: /shared/out\."):
        output_for("file:///shared/out", "x", [FAR], URL)


def test_paths_reach_the_driver_whole():
    assert entrypoint("/a b/c").endswith("--output '/a b/c'")
    assert entrypoint("~/a b").endswith("--output ~/'a b'")
    told = what_now(Job("raysubmit_1", URL, "~/a b"), ["my config.yaml", "seed=3"])
    assert "rsync -a head:~/'a b'/ results/'a b'/" in told
    assert "HEAD:/x/" in what_now(Job("raysubmit_1", "http://localhost:8265", "/x"), ["x.yaml"])


def test_a_job_that_is_started_again_goes_on_and_its_hints_name_the_address():
    assert "--address auto --resume-or-start --output" in entrypoint("/x")
    told = what_now(Job("raysubmit_1", URL, "~/a b"), ["my config.yaml", "seed=3"])
    again = f"prunefront submit 'my config.yaml' seed=3 --address {URL} --output ~/'a b'"
    assert f"go on, should it end too early: {again}" in told
    assert all(f"--address {URL}" in line for line in told.splitlines()[2:5])


@pytest.mark.parametrize(
    ("status", "driver", "expected"),
    [
        ("SUCCEEDED", 0, 0), ("FAILED", 1, 1), ("FAILED", 2, 2), ("FAILED", 130, 130),
        ("STOPPED", None, 130), ("STOPPED", -15, 130),
    ],
)  # fmt: skip
def test_the_exit_status_is_the_drivers(status, driver, expected):
    assert _exit_status("j", status, driver, None) == expected


@pytest.mark.parametrize(
    ("driver", "message", "told"),
    [
        (-9, "Job entrypoint command failed with exit code -9, last available logs (truncated to "
         "20,000 chars):\nphase 1\nphase 2", "command failed with exit code -9. Handed in again"),
        (137, "Job entrypoint command failed with exit code 137. No logs available.",
         "failed with exit code 137. No logs available. Handed in again"),
        (None, "runtime_env setup failed: no space left", "runtime_env setup failed: no space left"),
        (None, None, "nobody says why"),
    ],
)  # fmt: skip
def test_a_driver_that_did_not_get_to_say_why_the_job_failed_is_spoken_for(driver, message, told):
    with pytest.raises(RunError) as failed:
        _exit_status("j", "FAILED", driver, message)
    assert told in str(failed.value)
    assert "phase" not in str(failed.value)


def test_a_server_that_does_not_answer_is_refused():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConfigError, match=r"nobody answers .* ssh -L"):
        JobServer(f"127.0.0.1:{port}")
    with pytest.raises(ConfigError, match="is no job server"):
        JobServer("ray://head:10001")


def test_without_the_extra_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ConfigError, match=r"pip\s+install 'prunefront\[cluster\]'"):
        JobServer(URL)
