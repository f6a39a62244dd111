"""The checked configuration of one experiment. Imports neither Ray nor torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from rllib_ext.envs.shift import Shift
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.drawn import drawn_fields
from search.config.goal import GoalSettings
from search.config.parameter import Value
from search.config.ppo import PPOSettings
from search.config.settings import BudgetSettings, SearchSettings, Settings
from search.config.sizes import sizes
from search.config.space import START, Space
from search.config.space_checks import numbers_of, refuse_contradictory
from search.config.space_hints import space_hint

# Number of random combinations of searched values that are checked when a configuration is read.
TRIED_DRAWS = 100

Extra = Literal[
    "box2d", "cluster", "dashboard", "envpool", "minatar", "mlflow", "mujoco", "onnx", "render",
    "wandb",
]  # fmt: skip
EngineName = Literal["packed", "rllib", "auto"]
Vectorize = Literal["auto", "native", "envpool", "sync", "async"]
# Strategies whose members are compared with each other.
RANKING = ("pareto_pbt", "gap_pbt", "pbt", "selection")


def _pruning_config(value: Any) -> Any:
    return PruningConfig.from_dict(value) if isinstance(value, Mapping) else value


def _plain_pruning(value: PruningConfig) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in value.to_dict().items()}


Pruning = Annotated[
    PruningConfig, BeforeValidator(_pruning_config), PlainSerializer(_plain_pruning)
]


class PopulationSettings(Settings):
    """The population."""

    members: int = Field(default=8, ge=1)
    """Policies in training."""
    segments: int = Field(default=8, ge=1, le=100_000)
    """Into how many segments a member's horizon is cut."""


def _shift(value: Any) -> Any:
    return Shift.from_dict(value) if isinstance(value, Mapping) else value


ShiftSettings = Annotated[Shift, BeforeValidator(_shift), PlainSerializer(Shift.to_dict)]


class EvaluationSettings(Settings):
    """How policies are evaluated: fresh deterministic episodes, one a seed.

    `interval`, `episodes`, `candidates`, `selection_episodes` and `report_episodes` that are not given
    are made smaller (`interval`: larger) where evaluation would take more than a quarter of training's
    time, and more than ten seconds (`search.config.sizing`).
    """

    interval: int = Field(default=2, ge=1)
    """Training iterations between the evaluations of a member; baselines are evaluated at their end
    only."""
    episodes: int = Field(default=10, ge=1)
    """Episodes of an evaluation during the search."""
    candidates: int = Field(default=16, ge=1)
    """Policies that are evaluated again after the search, at most."""
    selection_episodes: int = Field(default=100, ge=2)
    """Episodes that decide who is on the front."""
    report_episodes: int = Field(default=100, ge=2)
    """Further episodes that give the published figures."""
    shifts: tuple[ShiftSettings, ...] = ()
    """What the front is tried under at the end of the search, each as in `rllib_ext.envs.shift.Shift`:
    the generalisation table."""
    shift_episodes: int = Field(default=50, ge=2)
    """Episodes of a policy under a shift: the first of the report's seeds."""

    @model_validator(mode="after")
    def _check(self) -> EvaluationSettings:
        labels = [shift.label for shift in self.shifts]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"shifts: {label!r} is there more than once; leave one out")
        return self


class BaselineSettings(Settings):
    """Baselines that are trained once the front is known, one member's horizon each; trees are fitted.

    Each is held against a point of the front: first the sparsest that keeps 95 % of the dense policy,
    then the knee, then those farthest from what is taken. None is trained twice.
    """

    random_masks: int = Field(default=1, ge=0, le=100)
    """How many networks start with random masks of a point's sparsity and keep them."""
    small_dense: int = Field(default=1, ge=0, le=100)
    """How many are dense, with as many weights as a point or a few less; they train in one pack."""
    train_then_prune: int = Field(default=1, ge=0, le=100)
    """How many are trained dense, pruned at once to a point's sparsity at half of the horizon, and
    trained on."""
    linear: int = Field(default=1, ge=0, le=100)
    """How many policies are linear in the observation, of a point's weights at most: fitted to the dense
    policy's episodes, then trained. None where observations are images or dicts."""
    tree: int = Field(default=1, ge=0, le=100)
    """How many policies are decision trees that hold as many numbers as a point has weights: fitted to
    the dense policy in a few rounds, within seconds. None where observations are images or dicts."""
    untrained: bool = True
    """Whether a random policy and constant actions are measured; false for an environment that refuses
    illegal actions without showing the legal ones. `retained` is unknown then."""


class ResourceSettings(Settings):
    """Where members train."""

    slots: int | None = Field(default=None, ge=1)
    """Members (or packs) that train at once; not given: as many as the cluster has CPUs for."""
    members_per_pack: int | None = Field(default=None, ge=1)
    """Members that train in one process; not given: members ÷ slots."""
    cpus_per_member: float = Field(default=1.0, gt=0.0)
    """CPUs that a member (or a pack) takes."""
    gpus_per_member: float = Field(default=0.0, ge=0.0)
    """GPUs that a member (or a pack) takes, or a share of one, for all its Learners together; 0: it
    trains on CPUs."""


class TrackerSettings(Settings):
    """Experiment trackers: a run a member, over its lineage's env steps."""

    tensorboard: bool = True
    """Whether losses, sparsity, returns and hyperparameters go to `tensorboard/` of the results
    folder."""
    wandb: dict[str, Any] | None = None
    """The same in Weights & Biases: arguments of `wandb.init`, such as `project`, or `mode: offline`."""
    mlflow: dict[str, Any] | None = None
    """The same in MLflow: `tracking_uri`, `registry_uri`, `experiment_name` and `tags`."""


class ExperimentConfig(Settings):
    """One experiment."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names the results folder."""
    env: str
    """A Gymnasium id, or "package.module:Name" of a class or function."""
    env_config: dict[str, Any] = Field(default={})
    """Keyword arguments of the environment; one that takes a single parameter `config` gets all of it
    as a mapping."""
    extras: tuple[Extra, ...] = ()
    """Extras of prunefront that it needs, such as [mujoco]; `make search` installs them."""
    engine: EngineName = "rllib"
    """Who trains: "rllib", a process a member; "packed", many members in one process; "auto": packed
    where that can be."""
    vectorize: Vectorize = "auto"
    """How environments step in training: "native", as one, which Gymnasium's CartPole, Acrobot and
    Pendulum can; "envpool", by EnvPool, whose episodes are alike, not the same; "sync", one after the
    other; "async", each in a process of its own; "auto": what a pack can, in this order – EnvPool where
    it is installed –, or as `ppo.env_runners.gym_env_vectorize_mode` says. The rllib engine knows "sync"
    and "async". Figures that are published come from Gymnasium's environments all the same."""
    ppo: PPOSettings = PPOSettings()
    """What is passed through to RLlib."""
    pruning: Pruning = PruningConfig()
    """How members prune; what is searched is overridden member by member."""
    search: SearchSettings
    """How hyperparameters are searched: strategy and space."""
    goal: GoalSettings = GoalSettings()
    """What the policy that is wanted must fulfil; not given: the whole front is of interest."""
    population: PopulationSettings = PopulationSettings()
    """How many members, in how many segments."""
    budget: BudgetSettings
    """What the search may cost: env steps or seconds."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """How often policies are evaluated, on how many episodes, and under which shifts."""
    baselines: BaselineSettings = BaselineSettings()
    """What the front is compared with, beside the dense network."""
    resources: ResourceSettings = ResourceSettings()
    """Where members train: CPUs and GPUs, and how many at once."""
    init_checkpoint: str | None = None
    """An RLlib PPO checkpoint whose weights every member, and the dense baseline, has at its birth; not
    given: fresh ones."""
    trackers: TrackerSettings = TrackerSettings()
    """TensorBoard, W&B and MLflow."""
    seed: int = Field(default=0, ge=0)
    """Everything that is drawn derives from it."""
    from_python: bool = False
    """Set by `search.run`: members are those of its PPOConfig, kept in the results folder."""

    @model_validator(mode="after")
    def _check(self) -> ExperimentConfig:
        known = {field.name for field in dataclasses.fields(PruningConfig)} - {"horizon"}
        for path in self.search.space:
            group, _, name = path.partition(".")
            if group == "training" and name:
                continue
            if group != "pruning" or name not in known:
                raise ValueError(
                    f"search.space: {path!r} names no hyperparameter.{space_hint(path, known)} "
                    "Expected pruning.… or training.… (a keyword of PPOConfig.training)"
                )
        if self.search.strategy in RANKING and self.population.members < 4:
            raise ValueError(
                f"population.members = {self.population.members}: {self.search.strategy} ranks members "
                "against each other and needs 4 or more; use search.strategy=random for fewer"
            )
        if self.vectorize != "auto" and "gym_env_vectorize_mode" in self.ppo.env_runners:
            raise ValueError(
                f"vectorize = {self.vectorize} and ppo.env_runners.gym_env_vectorize_mode both say how "
                "environments step; give one of them"
            )
        if drawn := drawn_fields(self.pruning):
            raise ValueError(
                f"pruning.{drawn[0]} is a search space of Ray Tune's; name it under search.space: "
                f"pruning.{drawn[0]}: {{type: float, low: …, high: …}}"
            )
        if self.pruning.horizon is not None:
            raise ValueError("pruning.horizon is set by the search; give budget.horizon instead")
        if self.horizon < self.population.segments:
            given = "horizon" if self.budget.horizon else "env_steps"
            raise ValueError(
                f"budget.{given} = {getattr(self.budget, given)} leaves a member {self.horizon} env "
                f"steps for {self.population.segments} segments; raise it"
            )
        if self.search.strategy == "train_then_prune" and self.budget.env_steps is None:
            raise ValueError(
                "search.strategy = train_then_prune shares budget.env_steps out, which is not given; "
                "give it, with budget.seconds beside it as a limit"
            )
        if self.init_checkpoint is None and self.most("pruning.distil") > 0.0:
            raise ValueError(
                "pruning.distil holds members to a teacher, and while they train there is no trained "
                "policy but one that they begin with: give init_checkpoint, or leave pruning.distil out"
            )
        self._check_space()
        return self

    def _check_space(self) -> None:
        """Refuses a space whose values contradict each other or the fixed ones."""
        searched, space = self.search.space, self.space
        refuse_contradictory(space)
        starts = [start for start in space.reach(START) if start != "dense"]
        if self.init_checkpoint is not None and starts:
            raise ValueError(
                f"pruning.start = {starts[0]} masks a fresh network, but with init_checkpoint members "
                "start from trained weights; leave one of them out"
            )
        rng = np.random.default_rng(0)
        tried: list[dict[str, Value]] = [{p: v} for p in searched for v in searched[p].extremes]
        tried += [{p: q.draw(rng) for p, q in searched.items()} for _ in range(TRIED_DRAWS)]
        for values in tried:
            self.pruning_with(space.clip(values))

    def most(self, path: str) -> float:
        """Returns the largest value that a searched or fixed number can have."""
        return max(numbers_of(path, self.space))

    @property
    def horizon(self) -> int:
        """Training env steps of one lineage."""
        if self.budget.horizon is not None:
            return self.budget.horizon
        assert self.budget.env_steps is not None, "the budget checks that one of them is given"
        return self.budget.env_steps * self.population.segments // sum(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of members that train each segment of the horizon."""
        founders = self.search.founders if self.search.strategy in RANKING else 1.0
        return sizes(self.population.members, founders, self.population.segments)

    @property
    def segment_steps(self) -> int:
        """Training env steps of one segment."""
        return self.horizon // self.population.segments

    @property
    def space(self) -> Space:
        """The search space, with the values of the hyperparameters that are fixed."""
        fixed = {f"pruning.{k}": v for k, v in self.pruning.to_dict().items() if v is not None}
        return Space(self.search.space, {k: v for k, v in fixed.items() if _is_value(v)})

    def pruning_with(self, hyperparameters: Mapping[str, Value]) -> PruningConfig:
        """Returns the pruning configuration of a member with these hyperparameters.

        Raises:
            ConfigError: The values contradict each other.
        """
        changes: dict[str, Any] = {
            path.removeprefix("pruning."): value
            for path, value in hyperparameters.items()
            if path.startswith("pruning.")
        }
        return self.pruning.replace(horizon=self.horizon, **changes)

    def training_with(self, hyperparameters: Mapping[str, Value]) -> dict[str, Any]:
        """Returns the arguments of `PPOConfig.training` that these hyperparameters set."""
        own = {
            path.removeprefix("training."): value
            for path, value in hyperparameters.items()
            if path.startswith("training.")
        }
        return {n: self.ppo.started_at(n, value, self.horizon) for n, value in own.items()}

    def to_yaml(self) -> str:
        """Returns the resolved configuration as YAML; reading it gives an equal configuration."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=100)


def _is_value(value: Any) -> bool:
    return isinstance(value, float | int | str | bool)
