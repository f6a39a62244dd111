"""The command line in processes of its own."""

import atexit
import contextlib
import dataclasses
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "configs" / "smoke.yaml"
# Ray notes there how the cluster that it starts is guarded, and whoever starts another one reads it.
BEFORE_RAY = dict(os.environ)
# What comes after the candidates' evaluation, left out.
NOTHING_MORE = (
    "baselines={random_masks: 0, small_dense: 0, train_then_prune: 0, linear: 0, tree: 0}",
    "evaluation.shifts=[]",
)
# The smoke search at its briefest: two members, a segment each, only the baselines that must be.
BRIEF = (
    "budget.env_steps=4_000",
    "population={members: 2, segments: 1}",
    "search.strategy=random",
    "evaluation.candidates=2",
    "evaluation.selection_episodes=5",
    "evaluation.report_episodes=5",
    *NOTHING_MORE,
)


def environment(*first):
    paths = [*map(str, first), str(ROOT), BEFORE_RAY.get("PYTHONPATH", "")]
    return {**BEFORE_RAY, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


@dataclasses.dataclass
class Run:
    """An ended command."""

    returncode: int
    stdout: str
    stderr: str


def prunefront(*arguments, cwd, path=()):
    """Runs the command to its end, in a process of its own.

    The process is forked from one that has imported what nearly all commands import, for that takes
    longer than most of them. With a `path` of its own it is started as a user's is.
    """
    words = [str(argument) for argument in arguments]
    if path:
        ended = subprocess.run(
            [sys.executable, "-m", "search", *words], capture_output=True, text=True, timeout=420,
            cwd=cwd, env=environment(*path), check=False,
        )  # fmt: skip
        return Run(ended.returncode, ended.stdout, ended.stderr)
    with tempfile.TemporaryDirectory() as place:
        files = [Path(place, name) for name in ("stdout", "stderr")]
        process = _forks().Process(target=_command, args=(words, str(cwd), environment(), files))
        process.start()
        process.join(420)
        in_time = process.exitcode is not None
        process.kill()
        process.join()
        told = [file.read_text() for file in files]
        assert in_time, told
        return Run(process.exitcode, *told)


@contextlib.contextmanager
def in_training(folder, file, lines, *arguments):
    """A command, from the moment when a file of its results folder has some lines; then it is ended.

    What it says is in the file "messages" beside the folder.
    """
    messages, written = folder.parent / "messages", folder / file
    with messages.open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "search", *map(str, arguments)],
            stdout=told, stderr=told, cwd=folder.parent, env=environment(), start_new_session=True,
        )  # fmt: skip

    def there():
        return written.is_file() and written.read_text().count("\n") >= lines

    try:
        wait_until(lambda: process.poll() is not None or there(), 240)
        assert process.poll() is None, messages.read_text()
        yield process
    finally:
        process.kill()
        process.wait()


def smoke_search(engine, tmp_path_factory):
    """The smoke search with an engine, run once for all test processes: its folder and its `Run`.

    Tests leave the folder as it is.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    place = shared / f"smoke-{engine}"
    ended = place / "run.json"
    with FileLock(shared / f"smoke-{engine}.lock"):
        if not ended.exists():
            place.mkdir(exist_ok=True)
            arguments = ("search", SMOKE, f"engine={engine}", "--output", place / "out")
            run = prunefront(*arguments, cwd=place)
            assert run.returncode == 0, run.stderr
            ended.write_text(json.dumps(dataclasses.asdict(run)))
    return place / "out", Run(**json.loads(ended.read_text()))


def _forks():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["search.cli", "search.runs.search", "search.runs.prune"])
    return context


def _command(words, cwd, variables, files):
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["prunefront", *words]
    # What is first on the path of `python -m`.
    sys.path.insert(0, cwd)
    from search.cli import main

    try:
        main()
    finally:
        # A forked process leaves them out.
        atexit._run_exitfuncs()


# A line that says what a command is doing: minutes, seconds, a phase.
_PHASE = re.compile(r"\[\d\d:\d\d\] ")


def assert_refused(run, *expected):
    """Exit status 2, one message, nothing else but what was waited for before it."""
    assert run.returncode == 2, run.stderr
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    assert run.stderr.count("error:") == 1, run.stderr
    lines = [line for line in run.stderr.splitlines() if not _PHASE.match(line)]
    assert lines[0].startswith("error: "), run.stderr
    for text in expected:
        assert text in run.stderr


def rows(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def descendants(pid):
    """Processes below one, by id."""
    found, parents = [], {}
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            lines = dict(
                line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line
            )
            parents[int(lines["Pid"])] = int(lines["PPid"])
    front = [pid]
    while front:
        front = [child for child, parent in parents.items() if parent in front]
        found += front
    return found


def end_with_descendants(process, how=signal.SIGKILL):
    """Ends a process with a signal, kills what it leaves behind, and waits until all are gone."""
    family = descendants(process.pid)
    process.send_signal(how)
    process.wait(timeout=120)
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, family)), 30)


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in state


def wait_until(condition, seconds):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)
