"""--quiet and --json: what a verb writes, and what scripts hear of its errors."""

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from command_line import SMOKE, environment

from rllib_ext.pruning.errors import ConfigError, RunError
from search.cli.main import cli
from search.cli.output import Output, output_options
from search.config.loading import load_config
from search.runs.standing import how_to_extend
from search.store.began_with import BEGAN_WITH
from search.store.folder import update_manifest

# As a person runs it, on a machine where neither Ray nor torch could be loaded.
LIGHT = """
import sys
sys.modules["ray"] = sys.modules["torch"] = None
from search.cli.main import main
sys.argv[0] = "prunefront"
main()
"""


@pytest.fixture
def finished_search(simulate, tmp_path):
    """The folder of a finished search."""
    folder = simulate(tmp_path / "out", fresh=20, limit=6).folder
    config = load_config(SMOKE)
    (folder / "config.yaml").write_text(config.to_yaml())
    update_manifest(folder, **{BEGAN_WITH: config.model_dump(mode="json")})
    (folder / "report.html").touch()
    return folder


def run_light(*words):
    command = [sys.executable, "-c", LIGHT, *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(), check=False, timeout=60
    )


def events(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (ConfigError("no such thing"), 2),
        (click.UsageError("no such thing"), 2),
        (RunError("no such thing"), 1),
        (OSError("no such thing"), 1),
    ],
)
def test_scripts_hear_of_errors_and_of_the_exit_status(raised, status, capsys):
    @click.command()
    @output_options
    def verb(output_to):
        raise raised

    with pytest.raises(type(raised)):
        verb.main(["--json"], standalone_mode=False)
    (event,) = events(capsys.readouterr().out)
    assert (event["event"], event["message"], event["status"]) == (
        "failed",
        "no such thing",
        status,
    )
    with pytest.raises(type(raised)):
        verb.main([], standalone_mode=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("verb", ["search", "resume", "submit"])
def test_quiet_and_json_exclude_each_other(verb, tmp_path):
    words = [verb, str(tmp_path), "--quiet", "--json"]
    ended = CliRunner().invoke(cli, [*words, *(["--address", "x"] if verb == "submit" else [])])
    assert ended.exit_code == 2
    assert "exclude each other" in ended.output


def test_what_is_safe_is_told_both_to_a_person_and_to_a_script(capsys):
    Output(quiet=False, as_json=True).interrupted("3 snapshots are safe")
    told = capsys.readouterr()
    assert told.err == "interrupted: 3 snapshots are safe\n"
    assert events(told.out)[0]["message"] == "3 snapshots are safe"


def test_a_job_is_told_to_write_in_the_same_way():
    asked = [Output(quiet=q, as_json=j).flag for q, j in ((0, 0), (1, 0), (0, 1))]
    assert asked == ["", "--quiet", "--json"]


def test_a_jobs_output_is_passed_on_piece_by_piece(capsys):
    with Output(quiet=True, as_json=False).passed_on() as write:
        write("half a li")
        write("ne\nand more")
    assert capsys.readouterr().out == "half a line\nand more"
    event = json.dumps({"event": "note", "time": "", "elapsed": 0.0, "text": "rain"})
    with Output(quiet=False, as_json=True).passed_on() as write:
        write(f"{event}\nhalf a li")
        write("ne\nthe end")
    told = events(capsys.readouterr().out)
    assert told[0] == json.loads(event)
    assert [e["text"] for e in told[1:]] == ["half a line", "the end"]


@pytest.mark.e2e
def test_resume_of_a_finished_search_says_so_before_ray_is_loaded_and_how_to_extend_it(
    finished_search,
):
    folder = finished_search
    told = run_light("resume", folder)
    assert told.returncode == 0, told.stderr
    assert told.stderr == (
        "this search has finished, and nothing is left to do. More budget extends it: prunefront "
        f"resume {folder} budget.env_steps=64000\n"
    )
    assert told.stdout.splitlines()[-1] == f"report: {folder / 'report.html'}"
    note, outcome = events(run_light("resume", folder, "--json").stdout)
    assert (note["event"], outcome["event"]) == ("note", "finished")
    again = run_light("search", SMOKE, "--output", folder, "--resume-or-start")
    assert (again.returncode, again.stderr) == (0, told.stderr)
    # With more budget it would train, and for that it loads Ray.
    more = run_light("resume", folder, "budget.env_steps=64000")
    assert more.returncode == 1
    assert "loading Ray and PyTorch" in more.stderr
    assert "ModuleNotFoundError: import of ray halted" in more.stderr


@pytest.mark.parametrize(
    ("limits", "trained", "more"),
    [
        (["budget.seconds=600"], 12_000, "budget.seconds=1200"),
        (["budget.seconds=600"], 32_768, "budget.env_steps=64000"),
        (["budget.env_steps=1234567890"], 2_000_000_000, "budget.env_steps=2469135780"),
        (["budget={seconds: 90.5, horizon: 800}"], 5_000, "budget.seconds=181"),
    ],
)
def test_what_is_told_to_raise_is_the_limit_that_ended_the_search(tmp_path, limits, trained, more):
    config = load_config(SMOKE, limits)
    update_manifest(tmp_path, env_steps={"training": trained})
    assert how_to_extend(config, tmp_path).endswith(f"prunefront resume {tmp_path} {more}")


def test_a_search_whose_budget_was_shared_out_is_not_told_to_extend_it(tmp_path):
    config = load_config(SMOKE, ["search.strategy=train_then_prune"])
    told = how_to_extend(config, tmp_path)
    assert "has finished" in told
    assert "prunefront resume" not in told
    assert "begin a new one" in told
