"""What `prunefront` ends with: a status and one message, whatever was raised."""

import errno
import os
import re
import subprocess
import sys

import pytest

from rllib_ext.pruning.errors import ConfigError, RunError
from search.cli.main import cli, main


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (ConfigError("wrong"), 2, "error: wrong"),
        (RunError("broke"), 1, "failed: broke"),
        (KeyboardInterrupt(), 130, ""),
        (PermissionError(errno.EACCES, "Permission denied", "a.csv"), 1, "failed: .*'a.csv'"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1, "failed: .*Free some space"),
    ],
)
def test_each_kind_of_error_has_its_status_and_one_message(
    raised, status, said, monkeypatch, capsys
):
    def fail(**options):
        raise raised

    monkeypatch.setattr(cli, "main", fail)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == (1 if said else 0)
    assert re.match(said, errors)


@pytest.mark.e2e
def test_a_reader_that_has_had_enough_gets_no_traceback(finished):
    """As `prunefront report DIR | head -0` does it."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "search", "report", str(finished.folder)]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert ended.returncode == 1
    assert ended.stderr == ""
