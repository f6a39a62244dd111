"""Searches on a cluster that is there already: as its job, and from one of its machines."""

import json
import re
import shutil

import pytest
import yaml
from command_line import SMOKE, assert_refused, rows
from ray_head import ray_head

pytestmark = pytest.mark.e2e

ENVIRONMENT = '''
import gymnasium
import numpy as np

from walks.lengths import LENGTH


class Corridor(gymnasium.Env):
    """Right to the end; every step costs."""

    def __init__(self, config):
        self.observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.at, self.steps = max(0, self.at + (1 if action else -1)), self.steps + 1
        there = self.at >= LENGTH
        seen = np.array([self.at / LENGTH], np.float32)
        return seen, 1.0 if there else -0.1, there, self.steps >= 20, {}
'''


@pytest.fixture(scope="module")
def head():
    with ray_head() as head:
        yield head


@pytest.fixture
def place(tmp_path):
    """A working directory with a configuration and an environment of its own."""
    values = yaml.safe_load(SMOKE.read_text())
    values["name"], values["env"] = "corridor", "walks.corridors:Corridor"
    values["budget"]["env_steps"] = 4_000
    values["population"] = {"members": 2, "segments": 1}
    values["search"]["strategy"] = "random"
    values["evaluation"].update(candidates=2, selection_episodes=4, report_episodes=4, shifts=[])
    values["baselines"] = dict.fromkeys(values["baselines"], 0)
    (tmp_path / "corridor.yaml").write_text(yaml.safe_dump(values))
    package = tmp_path / "walks"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "lengths.py").write_text("LENGTH = 5\n")
    (package / "corridors.py").write_text(ENVIRONMENT)
    # Called as our own packages are, and of no interest to a search.
    for name in ("search.py", "rllib_ext.py"):
        (tmp_path / name).write_text("raise RuntimeError('somebody else')\n")
    return tmp_path


def finished(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    return manifest["status"] == "finished" and len(rows(folder, "snapshots.jsonl")) >= 2


def test_a_search_runs_as_a_job_with_what_lies_in_the_working_directory(head, place):
    # Relative: this one node is this machine.
    run = head.run(
        "submit", "corridor.yaml", "budget.env_steps=5e3", "--address", head.jobs,
        "--output", "out", "--follow", cwd=place,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert finished(place / "out")
    assert "env_steps: 5000" in (place / "out" / "config.yaml").read_text()
    assert "\njob: raysubmit_" in run.stdout
    assert f"\nfollow: ray job logs --address {head.jobs} --follow raysubmit_" in run.stdout
    assert f"\nstop: ray job stop --address {head.jobs} raysubmit_" in run.stdout
    assert f"\nbring back: rsync -a HEAD:{place}/out/ " in run.stdout
    # The driver's own output, each line once.
    assert run.stdout.count(f"report: {place}/out/report.html") == 1
    assert re.search(r"\[\d\d:\d\d\] training 2 members", run.stdout)
    # Whoever retries jobs may start it once more.
    again = head.run(
        "submit", "corridor.yaml", "budget.env_steps=5e3", "--address", head.jobs,
        "--output", "out", "--follow", cwd=place,
    )  # fmt: skip
    assert again.returncode == 0, again.stdout + again.stderr
    assert "this search has finished" in again.stdout
    scripted = head.run(
        "submit", "corridor.yaml", "budget.env_steps=5e3", "--address", head.jobs,
        "--output", "out", "--follow", "--json", cwd=place,
    )  # fmt: skip
    told = [json.loads(line) for line in scripted.stdout.splitlines()]
    assert told[0]["event"] == "submitted"
    assert told[0]["results"] == str(place / "out")
    (outcome,) = (event for event in told if event["event"] == "finished")
    assert outcome["report"] == str(place / "out" / "report.html")


def test_the_exit_status_is_the_drivers(head, place):
    (place / "out").mkdir()
    (place / "out" / "something").touch()
    run = head.run(
        "submit", "corridor.yaml", "--address", head.jobs, "--output", "out", "--follow", cwd=place
    )
    assert run.returncode == 2, run.stdout + run.stderr
    assert "is not empty" in run.stdout
    assert "Traceback" not in run.stdout + run.stderr


def test_a_search_from_a_machine_of_the_cluster_sends_its_code_along(head, place):
    run = head.run(
        "search", "corridor.yaml", "--address", head.cluster, "--output", "out", cwd=place
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert finished(place / "out")


def test_what_is_wrong_is_said_before_anything_is_sent(head, place):
    def refused(*arguments, says, **variables):
        run = head.run("submit", "corridor.yaml", *arguments, cwd=place, **variables)
        run.stdout = ""
        assert_refused(run, *says)

    refused(
        "resources.cpus_per_member=3", "--address", head.jobs,
        says=["takes 3 CPU", "has 2 CPU and no GPU"],
    )  # fmt: skip
    refused("--address", head.jobs, says=["RAY_AUTH_TOKEN"], RAY_AUTH_TOKEN="wrong" * 5)
    shutil.rmtree(place / "walks")
    refused("--address", head.jobs, says=["cannot be imported"])
