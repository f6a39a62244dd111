"""What a job that may be started again runs: it begins, goes on, says it is done, or is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pretended_search import coordinated

import search.runs.search
from rllib_ext.pruning.errors import ConfigError, ResultsError
from search.front.results import Results
from search.runs.search import resume_search, run_search
from search.runs.session import recorded
from search.runs.standing import finished_results, has_finished
from search.store.continued import extended, load_config_of
from search.store.folder import CONFIG, read_manifest, update_manifest
from search.store.ledger import lost_records


class Told:
    """A display that keeps what it is told."""

    def __init__(self):
        self.phases = []

    def phase(self, title):
        self.phases.append(title)

    note = phase


@pytest.fixture
def ran(monkeypatch):
    """What happens where a search would train: a status that it ends with, or an error."""
    outcomes, runs = [], []

    def run(config, ppo, folder, display, address):
        runs.append(config)
        outcome = outcomes.pop(0) if outcomes else "finished"
        if isinstance(outcome, BaseException):
            raise outcome
        (folder / "events.jsonl").touch()
        update_manifest(folder, status=outcome)
        (folder / "report.html").touch()
        return read(folder)

    def read(folder):
        """There is nothing in it."""
        return Results(folder, "", read_manifest(folder), [], [], {}, [])

    monkeypatch.setattr(search.runs.search, "_run", run)
    monkeypatch.setattr(search.runs.search, "read_results", read)
    run.outcomes, run.runs = outcomes, runs
    return run


def start(folder, config=None, **how):
    told = Told()
    arguments = {"command": ["prunefront", "search"], "display": told, "or_resume": True, **how}
    return run_search(config or coordinated(), folder, **arguments), told.phases


def resume(folder, *overrides):
    told = Told()
    return resume_search(
        folder, overrides, command=["prunefront", "resume"], display=told
    ), told.phases


@pytest.mark.parametrize("there", [False, True])
def test_it_begins_in_an_empty_or_missing_folder(tmp_path, ran, there):
    folder = tmp_path / "out"
    if there:
        folder.mkdir()
    start(folder)
    assert len(ran.runs) == 1
    assert read_manifest(folder)["command"] == ["prunefront", "search"]
    assert "resumed" not in read_manifest(folder)


def test_the_same_search_goes_on_and_once_finished_says_so(tmp_path, ran):
    ran.outcomes[:] = ["interrupted", "failed", "finished"]
    for _ in range(3):
        start(tmp_path / "out")
    assert len(ran.runs) == 3
    assert len(read_manifest(tmp_path / "out")["resumed"]) == 2
    results, told = start(tmp_path / "out")
    assert len(ran.runs) == 3
    assert results.page == tmp_path / "out" / "report.html"
    assert "has finished" in told[0]
    assert f"prunefront resume {tmp_path / 'out'} budget.env_steps=160000" in told[0]


def test_a_search_that_was_killed_before_its_manifest_goes_on(tmp_path, ran):
    (tmp_path / CONFIG).write_text(coordinated().to_yaml())
    start(tmp_path)
    assert len(read_manifest(tmp_path)["resumed"]) == 1


def test_another_search_is_refused_and_nothing_changes(tmp_path, ran):
    start(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        ResultsError, match=r"holds another search: seed = 3, and it was 0.*--output"
    ):
        start(tmp_path, coordinated(seed=3))
    with pytest.raises(ResultsError, match=r"budget.env_steps = 160000.*prunefront resume"):
        start(tmp_path, coordinated(env_steps=160_000))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_is_no_search_is_refused(tmp_path, ran):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ResultsError, match="is not empty"):
        start(tmp_path)
    assert ran.runs == []


def test_without_it_not_even_the_same_search_is_begun_over(tmp_path, ran):
    start(tmp_path, or_resume=False)
    with pytest.raises(ResultsError, match="is not empty"):
        start(tmp_path, or_resume=False)
    assert len(ran.runs) == 1


def test_the_corrected_retry_of_a_refused_search_begins(tmp_path, ran):
    """A cluster too small, a folder that not every node sees: found once Ray is there."""
    ran.outcomes[:] = [ConfigError("no machine offers 9 CPUs")]
    with pytest.raises(ConfigError):
        start(tmp_path / "out", coordinated(seed=9), or_resume=False)
    assert not (tmp_path / "out").exists()
    start(tmp_path / "out", or_resume=False)
    assert len(ran.runs) == 2


def test_a_refused_extension_leaves_what_was_found(tmp_path, ran):
    ran.outcomes[:] = ["interrupted", ConfigError("no machine offers 9 CPUs")]
    start(tmp_path / "out")
    with pytest.raises(ConfigError):
        start(tmp_path / "out")
    assert (tmp_path / "out" / "events.jsonl").exists()
    assert (tmp_path / "out" / CONFIG).exists()


def test_resume_of_a_finished_search_says_so_and_more_budget_extends_it(tmp_path, ran):
    start(tmp_path)
    results, told = resume(tmp_path)
    assert results.page == tmp_path / "report.html"
    assert "budget.env_steps=160000" in told[0]
    resume(tmp_path, "budget.env_steps=80_000")
    assert len(ran.runs) == 1
    resume(tmp_path, "budget.env_steps=160_000")
    assert ran.runs[-1] == extended(coordinated(), ["budget.env_steps=160_000"])
    # The job that began it finds another budget, and says how it was meant.
    with pytest.raises(ResultsError, match=r"budget\.env_steps = 80000, and it was 160000"):
        start(tmp_path)


def test_a_folder_of_an_earlier_version_is_taken_by_its_configuration(tmp_path, ran):
    start(tmp_path)
    (tmp_path / "manifest.json").write_text('{"status": "finished"}')
    assert "has finished" in resume(tmp_path)[1][0]
    resume(tmp_path, "budget.env_steps=160_000")
    assert len(ran.runs) == 2


def test_a_report_that_a_kill_prevented_is_written(tmp_path, ran, monkeypatch):
    start(tmp_path)
    (tmp_path / "report.html").unlink()
    made = []
    monkeypatch.setattr(search.runs.search, "note_latencies", lambda results: None)
    monkeypatch.setattr(search.runs.search, "write_report_of", lambda results: made.append(results))
    resume(tmp_path)
    start(tmp_path)
    assert [results.folder for results in made] == [tmp_path, tmp_path]


@pytest.mark.parametrize("signal", [KeyboardInterrupt, OSError])
def test_an_extension_that_is_cut_short_while_it_reports_doesnt_pass_off_the_earlier_page(
    tmp_path, monkeypatch, signal
):
    outcomes, module = [None, signal(), None], search.runs.search

    def report(results):
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        (tmp_path / "report.html").write_text(f"{len(outcomes)} are left")
        return results

    def trained(config, prepared, folder, display):
        (folder / "events.jsonl").touch()

    monkeypatch.setattr(module, "session", lambda folder, address, note: recorded(folder))
    monkeypatch.setattr(module, "_search", trained)
    monkeypatch.setattr(
        module, "read_results", lambda folder: Results(folder, "", {}, [], [], {}, [])
    )
    monkeypatch.setattr(module, "note_latencies", lambda results: None)
    monkeypatch.setattr(module, "write_report_of", report)
    start(tmp_path)
    assert outcomes == [outcomes[0], None]
    with pytest.raises(signal):
        resume(tmp_path, "budget.env_steps=160_000")
    assert (tmp_path / "report.html").read_text() == "2 are left"
    config = load_config_of(tmp_path)
    assert finished_results(config, tmp_path) is None
    resume(tmp_path)
    assert (tmp_path / "report.html").read_text() == "0 are left"
    resume(tmp_path)
    assert outcomes == []


def test_a_finished_search_whose_environment_was_given_a_nan_has_finished(tmp_path, ran):
    nan = {"missing": float("nan"), "levels": [1.0, float("nan")]}
    config = coordinated().model_copy(update={"env_config": nan})
    (tmp_path / CONFIG).write_text(config.to_yaml())
    update_manifest(tmp_path, config=config.model_dump(mode="json"), status="finished")
    assert has_finished(load_config_of(tmp_path), tmp_path)
    other = {**nan, "levels": [2.0, float("nan")]}
    (tmp_path / CONFIG).write_text(config.model_copy(update={"env_config": other}).to_yaml())
    with pytest.raises(ResultsError, match=r"was changed since the run began: env_config\.levels"):
        load_config_of(tmp_path)


RACERS = """
import json, os, sys, time
from pathlib import Path
import search.runs.search
from pretended_search import coordinated
from rllib_ext.pruning.errors import ResultsError
from search.store.archive import Archive

class Told:
    def phase(self, title):
        pass

def run(config, ppo, folder, display, address):
    for i in range(20):
        Archive(folder).add_event("start", member=i)
        time.sleep(0.01)
    search.runs.search.update_manifest(folder, status="finished")
    (folder / "report.html").touch()

def race(folder):
    search.runs.search.run_search(
        coordinated(), folder, command=[], display=Told(), or_resume=True
    )

search.runs.search._run = run
search.runs.search.read_results = lambda folder: None
root = Path(sys.argv[1])
# Everything is loaded by then.
race(root / "before")
gate, closed = os.pipe()
racers = []
for number in range(2):
    racer = os.fork()
    if not racer:
        os.close(closed)
        os.read(gate, 1)
        try:
            race(root / "out")
        except ResultsError as error:
            (root / f"told{number}").write_text(str(error))
            os._exit(2)
        except BaseException:
            os._exit(1)
        os._exit(0)
    racers.append(racer)
os.close(closed)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(racer, 0)[1]) for racer in racers]))
"""


@pytest.mark.ray
def test_of_two_that_start_at_once_one_writes(tmp_path):
    root = Path(search.runs.search.__file__).parents[2]
    paths = os.pathsep.join([str(root), str(root / "tests" / "shared")])
    ended = subprocess.run(
        [sys.executable, "-c", RACERS, str(tmp_path)], text=True, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths}, timeout=120, check=True,
    )  # fmt: skip
    statuses = json.loads(ended.stdout)
    # Or the second came when the first had finished.
    assert sorted(statuses) in ([0, 2], [0, 0])
    if 2 in statuses:
        told = (tmp_path / f"told{statuses.index(2)}").read_text()
        assert "being written by another process" in told
    lines = (tmp_path / "out" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["member"] for line in lines] == list(range(20))
    assert lost_records(tmp_path / "out", read_manifest(tmp_path / "out")) == []
