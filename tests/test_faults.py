"""A search whose driver, packs and environments are hit at random moments ends as if none had been."""

import os
import subprocess
import sys

import pytest
from command_line import ROOT, environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_packed_search_survives_kills_and_raising_environments(tmp_path):
    """The drill itself looks at rows, members, front and report, and fails where one is wrong."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", "--engine", "packed", "--kills", "3",
         "--raises", "1", "--env-steps", "30000", "--segments", "3", "--seed", "1",
         "--output", str(tmp_path / "drill")],
        capture_output=True, text=True, timeout=420, cwd=ROOT, env=environment(), check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "all holds" in run.stdout
    assert "driver" in run.stdout
    assert os.listdir(tmp_path / "drill") == ["packed"]
