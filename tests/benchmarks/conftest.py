"""A finished search that never ran: trained by a pretended trainer, then played on all its seeds."""

import json
import shutil

import pytest
from pretended_search import Search

from search.evaluation.held_out import held_out_seeds
from search.front.generalisation import ShiftedEpisodes, add_shifted
from search.front.pareto import candidates
from search.population.baseline_plan import plan_baselines
from search.report.notebook import load
from search.store.archive import CANDIDATES, Archive, Baseline, Evaluation
from search.store.deletion import remove_policies
from search.training.plain_sizes_of import plain_sizes_of
from search.training.ppo_config import build_ppo

SETTINGS = {
    "ppo": {"training": {"train_batch_size_per_learner": 1000}},
    "evaluation": {
        "interval": 1, "episodes": 2, "candidates": 6, "selection_episodes": 3, "report_episodes": 4,
        "shifts": [{"action_noise": 0.1}, {"noise": 0.2}], "shift_episodes": 2,
    },
    "baselines": {"random_masks": 1, "small_dense": 1, "train_then_prune": 0, "linear": 0, "tree": 0},
}  # fmt: skip


class Finished:
    """The search, phase by phase as `search.runs.after_training` goes through them."""

    def __init__(self, folder):
        search = Search(folder, **SETTINGS)
        search.run(slots=2)
        self.folder, self.config, self.archive = folder, search.config, search.archive
        (folder / "config.yaml").write_text(self.config.to_yaml())
        self.manifest(status="running", env_steps=search.coordinator.spent, seed=self.config.seed)
        for name in ("random", "constant"):
            self.archive.add_baseline(
                Baseline(name=name, description="", env_steps=0, wall_time=0.0, search_return=22.0)
            )

    def manifest(self, **values):
        path = self.folder / "manifest.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**known, **values}))

    def play(self, *names, purposes=("selection", "report")):
        means = {s.snapshot_id: s.return_mean for s in self.archive.snapshots()}
        seeds = held_out_seeds(self.config)
        for name in names:
            for purpose in purposes:
                own = list(seeds[purpose])
                mean = means.get(name, {"dense": 480.0}.get(name, 22.0))
                returns = [mean + i for i in range(len(own))]
                self.archive.add_evaluation(
                    Evaluation(
                        snapshot_id=name, purpose=purpose, seeds=own, returns=returns,
                        lengths=[10] * len(own),
                    )
                )  # fmt: skip

    def choose(self):
        self.chosen = candidates(self.archive.available(), self.config.evaluation.candidates)
        self.archive.add_event(CANDIDATES, chosen=[s.snapshot_id for s in self.chosen])

    def evaluate(self):
        names = [s.snapshot_id for s in self.chosen]
        self.play("random", "constant", "dense", *names)
        for name in names:
            (self.folder / "policies" / name / "masks.npz").touch()
        remove_policies(self.folder, self.archive.available(), names)

    def planned(self):
        front = load(self.folder).confirmed.table
        plain = plain_sizes_of(build_ppo(self.config))
        return plan_baselines(self.config, front, self.archive.baselines(), plain)

    def train_baseline(self, plan):
        (self.folder / "policies" / plan.name).mkdir()
        self.archive.add_baseline(
            Baseline(
                name=plan.name, description="", env_steps=1, wall_time=0.0, search_return=22.0,
                sparsity=0.5, nonzero_params=plan.weights, total_params=1000,
                checkpoint=f"policies/{plan.name}", kind=plan.kind, level=plan.level,
            )
        )  # fmt: skip

    def shift(self):
        seeds = held_out_seeds(self.config)["report"][: self.config.evaluation.shift_episodes]
        for shift in self.config.evaluation.shifts:
            for name in ("dense", "random", *load(self.folder).confirmed.table["snapshot_id"]):
                add_shifted(
                    self.folder,
                    ShiftedEpisodes(
                        shift=shift.label, settings={}, policy=name, seeds=list(seeds),
                        returns=[1.0] * len(seeds), lengths=[1] * len(seeds),
                    ),
                )  # fmt: skip

    def finish(self):
        self.manifest(status="finished")
        load(self.folder).write_tables()
        (self.folder / "report.html").touch()

    def change(self, name, line):
        """Rewrites one of the archive's files, line by line; None leaves a line out."""
        path = self.folder / name
        changed = (line(json.loads(text)) for text in path.read_text().splitlines())
        path.write_text("".join(json.dumps(v) + "\n" for v in changed if v is not None))


@pytest.fixture(scope="session")
def _finished(tmp_path_factory):
    search = Finished(tmp_path_factory.mktemp("finished") / "out")
    search.choose()
    search.evaluate()
    for plan in search.planned():
        search.train_baseline(plan)
        search.play(plan.name)
    search.shift()
    search.finish()
    return search


@pytest.fixture
def finished(_finished, tmp_path):
    """A copy of its own to spoil."""
    shutil.copytree(_finished.folder, tmp_path / "out")
    found = object.__new__(Finished)
    found.__dict__ |= vars(_finished)
    found.folder, found.archive = tmp_path / "out", Archive(tmp_path / "out")
    return found


@pytest.fixture
def trained(tmp_path):
    """A search whose members have just ended their training."""
    return Finished(tmp_path / "out")
