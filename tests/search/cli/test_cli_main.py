"""What `prunefront` ends with: a status and one message, whatever was raised."""

import errno
import os
import re
import signal
import subprocess
import sys

import click
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


def test_what_an_interrupted_run_still_has_to_say_is_not_cut_short(monkeypatch, capsys):
    """`timeout` sends its signal twice: to the process, and to the group that it is in."""

    def run(**options):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            click.echo("interrupted: 8 snapshots are safe", err=True)

    monkeypatch.setattr(cli, "main", run)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted: 8 snapshots are safe\n"


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
