"""A search with everything but the training: a pretended trainer under the real coordinator."""

import json
import math
import time

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from rllib_ext.member.segment import DENSE, Segment, snapshot_name
from rllib_ext.pruning.config import PruningConfig
from search.config.loading import parse_config
from search.population.coordinator import Coordinator
from search.population.strategies import open_study
from search.store.archive import Archive

RANDOM, CAP = 22.0, 500.0


class Trainer:
    """Trains segments in no time: what a member can, it has learned under its learning rate.

    The more weights are left and the closer the learning rate lies to the best one, the more a member
    learns; pruning fast costs what it had learned. `true_front` is what a fully trained one returns.

    Args:
        folder: The results folder.
        fails: Whether, and how, a segment fails: "raise" after its first iteration, or "nan".
    """

    ITERATION = 1_000
    WEIGHTS = 1_000
    BEST_LR = 3e-3

    def __init__(self, folder, fails=lambda segment: ""):
        self.folder = folder
        self.fails = fails
        self.iterations = 0

    @classmethod
    def true_front(cls, sparsity):
        return RANDOM + (CAP - RANDOM) / (1.0 + (0.02 / (1.0 - sparsity)) ** 3)

    def train(self, segment: Segment):
        """Yields (result, snapshot) iteration by iteration."""
        clock, skill, iteration = 0, 0.0, 0
        sparsity = PruningConfig.from_dict(segment.pruning).starting_sparsity
        if segment.state:
            state = json.loads((self.folder / segment.state / "state.json").read_text())
            clock, sparsity, skill, iteration = state
        began, from_sparsity = clock, sparsity
        pruning = segment.pruning
        horizon = pruning["horizon"]
        rate = math.log10(segment.training.get("lr", self.BEST_LR) / self.BEST_LR)
        fails = self.fails(segment)
        rng = np.random.default_rng(segment.seed)
        while clock < segment.until_env_steps:
            clock, iteration = clock + self.ITERATION, iteration + 1
            self.iterations += 1
            if fails == "raise" and clock - began > self.ITERATION:
                raise RuntimeError("the environment died")
            start = max(pruning["begin"], began / horizon)
            ramp = (clock / horizon - start) / max(1e-9, pruning["end"] - start)
            aim = from_sparsity + (pruning["final_sparsity"] - from_sparsity) * min(max(ramp, 0), 1)
            new = max(sparsity, round(aim * self.WEIGHTS) / self.WEIGHTS)
            skill *= ((1 - new) / (1 - sparsity)) ** 0.5
            sparsity = new
            skill += (1 - skill) * 0.12 * math.exp(-2 * rate**2)
            mean = RANDOM + (self.true_front(sparsity) - RANDOM) * skill
            measured = math.nan if fails == "nan" else float(mean + rng.normal(0, 3))
            state = [clock, sparsity, skill, iteration]
            if segment.member == DENSE and clock < segment.until_env_steps:
                yield self._result(clock), None
            else:
                yield self._iteration(segment, measured, mean, state)

    def _result(self, clock, evaluation_env_steps=0):
        return {
            "env_steps": clock,
            "env_steps_this_iter": self.ITERATION,
            "evaluation_env_steps": evaluation_env_steps,
        }

    def _iteration(self, segment, measured, mean, state):
        name = snapshot_name(segment.member, segment.segment, state[-1])
        for kind in ("policies", "states"):
            (self.folder / kind / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "states" / name / "state.json").write_text(json.dumps(state))
        left = round((1 - state[1]) * self.WEIGHTS)
        snapshot = {
            "snapshot_id": name, "trial_number": segment.trial_number, "member": segment.member,
            "segment": segment.segment, "iteration": state[-1], "env_steps": state[0], "status": "ok",
            "return_mean": measured, "return_std": 3.0, "episodes": 2, "parent": segment.parent,
            "sparsity": 1 - left / self.WEIGHTS, "critic_sparsity": 0.0, "nonzero_params": left,
            "total_params": self.WEIGHTS, "layers": {}, "seeds": list(segment.evaluation_seeds),
            "returns": [measured] * 2, "lengths": [25] * 2,
            "checkpoint": f"policies/{name}", "state": f"states/{name}",
            # A unit goes with the last of ten weights; what is left costs what it costs.
            "objectives": {
                "truth": mean, "params": left + 10.0, "macs": 2.0 * left,
                "units": (self.WEIGHTS - left) // 10, "bytes": 300.0 + 4 * left,
                "latency": 0.01 + 1e-4 * left,
            },
        }  # fmt: skip
        return self._result(state[0], evaluation_env_steps=50), snapshot


class Search:
    """A coordinator with a pretended trainer.

    Args:
        folder: The results folder.
        fails: As for `Trainer`.
        clock: As for `Coordinator`.
        weights: As for `Coordinator`.
        **changes: Of the configuration.
    """

    def __init__(
        self, folder, fails=lambda segment: "", clock=time.monotonic, weights=0, **changes
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.config = coordinated(**changes)
        self.folder = folder
        self.archive = Archive(folder)
        self.study = open_study(self.config, folder)
        self.coordinator = Coordinator(
            self.config, self.archive, self.study, RANDOM, clock, weights=weights
        )
        self.trainer = Trainer(folder, fails)
        self.segments: list[Segment] = []

    def run(self, slots=1, after_each=lambda: None):
        """To the end; `slots` segments take turns, an iteration each."""
        running = []
        while not self.coordinator.finished:
            while len(running) < slots and (segment := self.coordinator.decide()) is not None:
                self.segments.append(segment)
                running.append((segment, self.trainer.train(segment)))
            for each in list(running):
                segment, iterations = each
                try:
                    self.coordinator.tell(segment, *next(iterations))
                except StopIteration:
                    self.coordinator.end(segment)
                    running.remove(each)
                except RuntimeError as error:
                    self.coordinator.end(segment, str(error))
                    running.remove(each)
                after_each()
        self.coordinator.close()
        return self

    def begin(self, count):
        """Trains the dense baseline, then begins some segments: each with its iterations."""
        dense = self.coordinator.decide()
        for each in self.trainer.train(dense):
            self.coordinator.tell(dense, *each)
        self.coordinator.end(dense)
        segments = [self.coordinator.decide() for _ in range(count)]
        return [(segment, self.trainer.train(segment)) for segment in segments]

    @property
    def of_members(self):
        """All segments but the dense baseline's."""
        return [s for s in self.segments if s.member != DENSE]


def coordinated(
    *, strategy="pareto_pbt", members=4, segments=4, env_steps=80_000, seed=0, search=(), **more
):
    """The configuration of a pretended search."""
    space = {
        "pruning.final_sparsity": {
            "type": "float", "low": 0.5, "high": 0.995, "scale": "log_density",
        },
        "pruning.end": {"type": "float", "low": 0.4, "high": 0.95},
        "training.lr": {"type": "float", "low": 1e-5, "high": 1e-1, "scale": "log"},
    }  # fmt: skip
    return parse_config(
        {
            "name": "pretended",
            "env": "CartPole-v1",
            "seed": seed,
            "budget": {"env_steps": env_steps},
            "population": {"members": members, "segments": segments},
            "pruning": {"begin": 0.1},
            "search": {"strategy": strategy, "space": space, **dict(search)},
            "evaluation": {"episodes": 2},
            **more,
        },
        "pretended.yaml",
    )


# A space whose lineages start dense, narrow or sparse.
STARTS = {
    "pruning.final_sparsity": {"type": "float", "low": 0.5, "high": 0.995, "scale": "log_density"},
    "pruning.start": {"type": "choice", "choices": ["dense", "narrow", "sparse"]},
    "pruning.start_density": {"type": "float", "low": 0.01, "high": 0.5, "scale": "log"},
    "training.lr": {"type": "float", "low": 1e-5, "high": 1e-1, "scale": "log"},
}


def events(search, kind):
    """What happened of one kind, in order."""
    return [e for e in search.archive.events() if e["event"] == kind]


def trials_in(folder):
    """What the study of a pretended search holds, read by Optuna itself."""
    storage = JournalStorage(JournalFileBackend(str(folder / "study.log")))
    return optuna.load_study(study_name="pretended", storage=storage).trials


def by_id(search):
    """Snapshots by their id."""
    return {s.snapshot_id: s for s in search.archive.snapshots()}
