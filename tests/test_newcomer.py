"""Five tasks of a new user, done with what README.md and docs/ show and nothing else.

`pytest -s` prints the steps of each with their seconds. Every command must stand in the pages:
shown_in_pages.py looks it up. Budgets are small. With NEWCOMER_FRESH=FOLDER, a new folder on a disk
with some gigabytes left, the project is cloned into it and installed by `make search` first, which
takes minutes and downloads all that it needs.
"""

import base64
import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import optuna
import pandas as pd
import pytest
from mlflow import MlflowClient
from newcomer import Newcomer
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from shown_in_pages import block_with, line_with
from tracker_files import events_in

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TANK = '''
import gymnasium
import numpy as np


class Tank(gymnasium.Env):
    """A water tank with a leak: open or close the valve so that the level stays at a mark."""

    def __init__(self, leak: float = 0.05):
        self.leak = leak
        self.observation_space = gymnasium.spaces.Box(-2.0, 2.0, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level, self.mark = self.np_random.uniform(-1.0, 1.0, 2)
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        self.level += (0.2 if action == 1 else 0.0) - self.leak
        self.steps += 1
        missed = abs(self.level - self.mark)
        return self.observe(), 1.0 - min(missed, 1.0), False, self.steps >= 50, {}

    def observe(self):
        return np.array([self.level, self.mark], np.float32).clip(-2.0, 2.0)
'''
# As trackers call what an evaluation returned.
RETURN = "evaluation/return_mean"
# What a newcomer writes to play the policy elsewhere, after the lines that the pages show.
PLAY = """
import json
from garden.tank import Tank

returns = {}
for seed in json.load(open("seeds.json")):
    env = Tank(leak=0.1)
    observation, _ = env.reset(seed=seed)
    policy.reset()
    total, done = 0.0, False
    while not done:
        observation, reward, terminated, truncated, _ = env.step(policy(observation))
        total, done = total + reward, terminated or truncated
    returns[seed] = total
print(json.dumps(returns))
"""


@dataclasses.dataclass(frozen=True)
class Searched:
    """A finished search: its folder, and what `check` and `search` said."""

    folder: Path
    checked: str
    said: str

    @property
    def name(self):
        """As it is typed in the folder above `results`."""
        return f"results/{self.folder.name}"

    @property
    def front(self):
        return pd.read_csv(self.folder / "front.csv")

    @property
    def pick(self):
        """The row of the sparsest policy that keeps 95 % of the dense one."""
        (row,) = self.front[self.front["keeps_95"]].to_dict("records")
        return row


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The newcomer, in a folder that all tasks share."""
    if fresh := os.environ.get("NEWCOMER_FRESH"):
        newcomer = Newcomer(Path(fresh).resolve(), fresh=True)
        newcomer.tells("installed")
        return newcomer
    return Newcomer(tmp_path_factory.mktemp("newcomer"))


@pytest.fixture
def newcomer(home, request):
    """The newcomer, who tells the steps of a task when it ends."""
    yield home
    home.tells(request.node.name)


@pytest.fixture(scope="module")
def first(home):
    """From a class of one's own to a finished search."""
    home.writes("garden/tank.py", TANK)
    home.types("prunefront init --env garden.tank:Tank --set leak=0.1 --output tank.yaml")
    return searched(home, "tank.yaml")


@pytest.fixture(scope="module")
def second(home, first):
    """Another search: nothing guides it, and MLflow shows it too."""
    mlflow = line_with("mlflow:", "yaml")
    home.writes("random.yaml", f"{(home.folder / 'tank.yaml').read_text()}\ntrackers:\n{mlflow}\n")
    return searched(home, "random.yaml search.strategy=random")


def searched(newcomer, words):
    before = set(newcomer.folder.glob("results/tank-*"))
    checked = newcomer.types(f"prunefront check {words}")
    said = newcomer.types(f"prunefront search {words}")
    (folder,) = set(newcomer.folder.glob("results/tank-*")) - before
    newcomer.tells(f"to the search {folder.name}")
    return Searched(folder, checked, said)


def test_own_environment_to_a_policy_in_plain_numpy(newcomer, first):
    assert "2→64→64→2, 4,352 prunable weights" in first.checked
    assert f"report: {first.folder}/report.html" in first.said
    assert (first.folder / "report.html").is_file()
    newcomer.types(f"prunefront export {first.name} --point keeps_95 --format numpy")
    (exported,) = first.folder.glob("export/*/numpy")
    elsewhere = newcomer.folder.parent / "elsewhere"
    shutil.copytree(exported, elsewhere)
    shutil.copytree(newcomer.folder / "garden", elsewhere / "garden")
    # What the report's figure comes from.
    episodes = pd.read_parquet(first.folder / "episodes.parquet")
    pick = first.pick
    mine = (episodes["snapshot_id"] == pick["snapshot_id"]) & (episodes["purpose"] == "report")
    reported = dict(zip(episodes["seed"][mine], episodes["return"][mine], strict=True))
    (elsewhere / "seeds.json").write_text(json.dumps([int(seed) for seed in reported]))
    shown = block_with('load("policy.npz")').text.partition("action =")[0]
    (elsewhere / "play.py").write_text(shown + PLAY)
    played = json.loads(newcomer.runs_elsewhere("python play.py", elsewhere / "play.py"))
    assert {int(seed): total for seed, total in played.items()} == pytest.approx(reported)
    mean = sum(played.values()) / len(played)
    assert mean == pytest.approx(pick["return_mean"])
    # The verdict rounds to four digits.
    said = re.search(r"([\d,]+) of 4,352 weights .*? return ([\d.]+)", first.said)
    assert int(said[1].replace(",", "")) == pick["nonzero_params"]
    assert float(said[2]) == pytest.approx(mean, rel=1e-3)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_a_checkpoint_to_c(newcomer):
    newcomer.runs("train my_checkpoint with RLlib", block_with("algorithm.save_to_path").text)
    table = newcomer.types("prunefront prune my_checkpoint --output results/pruned")
    pruned = newcomer.folder / "results" / "pruned"
    assert (pruned / "report.html").is_file()
    for sparsity in (0.5, 0.75, 0.9, 0.95, 0.98):
        assert (pruned / "policies" / f"sparsity-{sparsity}").is_dir()
        assert f"\nsparsity-{sparsity} " in table
    said = newcomer.types("prunefront export results/pruned/policies/sparsity-0.75 --format c")
    assert "the same as in RLlib" in said
    place = newcomer.folder / said.partition(":")[0]
    assert place.name == "policy.c"
    compiled = block_with("-DPOLICY_TEST", "sh").text.splitlines()
    assert compiled[-1] == "./self_test"
    for command in compiled:
        told = newcomer.types(command, place.parent)
    assert told.strip()


def test_two_searches_compared(newcomer, first, second):
    said = newcomer.types(f"prunefront report {first.name} {second.name} --output results/compared")
    headline = said.splitlines()[0]
    assert "95 % of the dense policy with" in headline
    for search in (first, second):
        assert f"{search.pick['nonzero_params']:,}" in headline
    for name in ("comparison.html", "comparison.md", "comparison.csv", "comparison.png"):
        assert (newcomer.folder / "results" / "compared" / name).is_file()


def test_dashboards_have_a_run_a_member(newcomer, first, second):
    runs = {"m00", "m01", "m02", "m03", "dense"}
    board = second.folder / "tensorboard"
    drawn = newcomer.does(
        "read TensorBoard's files", lambda: {p.name: returns_in(p) for p in board.iterdir()}
    )
    logged = newcomer.does("read MLflow's runs", lambda: logged_in(newcomer.folder / "mlflow.db"))
    assert set(drawn) == set(logged) == runs
    for member in runs:
        assert drawn[member]
        assert logged[member] == pytest.approx(drawn[member])
    study = newcomer.does("read Optuna's study", lambda: study_in(first.folder))
    assert study.metric_names == ["return", "sparsity"]
    snapshots = pd.read_csv(first.folder / "snapshots.csv")
    seen = set(zip(snapshots["return_mean"], snapshots["sparsity"], strict=True))
    told = {tuple(trial.values) for trial in study.trials if trial.state.name == "COMPLETE"}
    assert told
    assert told <= seen


def study_in(folder):
    journal = JournalStorage(JournalFileBackend(str(folder / "study.log")))
    return optuna.load_study(study_name=None, storage=journal)


def returns_in(run):
    """Of a run of TensorBoard's: return by env step."""
    return {step: figures[RETURN] for step, figures, _ in events_in(run) if RETURN in figures}


def logged_in(store):
    """Of each of MLflow's runs: return by env step."""
    client = MlflowClient(f"sqlite:///{store}")
    experiment = client.get_experiment_by_name("tank")
    return {
        run.info.run_name: {
            metric.step: metric.value
            for metric in client.get_metric_history(run.info.run_id, RETURN)
        }
        for run in client.search_runs([experiment.experiment_id])
    }


def test_a_notebook(newcomer, first):
    notebook = block_with("altair.renderers.enable").text.replace("results/cartpole-…", first.name)
    cells = [line for line in notebook.splitlines() if line]
    *_, front, chart = newcomer.shows("cells: load, front, chart", cells)
    for policy in first.front["snapshot_id"]:
        assert policy in front["text/html"]
    assert base64.b64decode(chart["image/png"]).startswith(b"\x89PNG\r\n\x1a\n")
    newcomer.types(f"prunefront export {first.name} --format numpy")
    taken = block_with('search.load("results/cartpole-…").policy(').text
    cells = [
        taken.replace("results/cartpole-…", first.name),
        "import numpy as np\nint(policy(np.array([-1.0, 1.0])))",
        f"search.load({first.name!r})",
    ]
    _, action, summary = newcomer.shows("cells: policy, summary", cells)
    # Far below the mark: the valve opens.
    assert action["text/plain"] == "1"
    assert f"{first.pick['nonzero_params']} of 4,352 weights" in summary["text/html"]
