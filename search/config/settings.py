"""Settings of the search algorithm and its budget. Imports neither Ray nor torch."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from search.config.parameter import Parameter

StrategyName = Literal[
    "pareto_pbt", "gap_pbt", "optuna", "pbt", "selection", "train_then_prune", "random"
]  # fmt: skip
Sampler = Literal["tpe", "nsga2", "gp", "random"]
Objective = Literal["return", "sparsity", "units", "params", "macs", "bytes", "latency"]

STRATEGIES: tuple[str, ...] = get_args(StrategyName)
# Objectives that are minimised; all others are maximised.
MINIMISED = frozenset({"params", "macs", "bytes", "latency"})
# Objectives that every snapshot records anyway; the others are measured on the policy.
GIVEN = frozenset({"return", "sparsity"})
# Objectives that only policies that can be exported have.
EXPORTED = frozenset({"bytes", "latency"})


class Settings(BaseModel):
    """Base class of settings: frozen, and refuses unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
        # Arguments of an environment may be infinite or NaN, and null would be a different value.
        ser_json_inf_nan="constants",
    )


class SearchSettings(Settings):
    """How hyperparameters are searched."""

    strategy: StrategyName = "pareto_pbt"
    """"pareto_pbt": population-based training over all objectives with an Optuna study inside.
    "gap_pbt": as "pareto_pbt", but members that give up set out for the largest gap of the front.
    "optuna": whole trainings of fresh proposals of the study, nothing is copied. "pbt":
    population-based training over one weighted sum of return and sparsity. "selection": as
    "pareto_pbt", but a clone keeps its donor's hyperparameters. "train_then_prune": one dense training,
    then every member prunes it to a level of its own and trains on. "random": whole trainings of random
    draws."""
    space: dict[str, Parameter] = Field(min_length=1)
    """Searched hyperparameters by path."""
    objectives: tuple[Objective, ...] = ("return", "sparsity")
    """What is searched for, the return first: "sparsity" of the policy path, "units" removed from it,
    "params" (parameters) and "macs" (multiply-accumulates for one observation) of the shrunk policy,
    "bytes" (flash of its C, in float: tables exactly, code by a model of a Cortex-M4; no compiler is
    needed) and "latency" (microseconds of a decision of its C where there is a compiler, else of its
    ONNX form, as the machine measures that trains it; nodes should be alike). `prunefront check` says
    in which form and how long measuring takes. The front that is reported is always that of return and
    sparsity."""
    sampler: Sampler = "tpe"
    """The study's sampler, in "pareto_pbt", "gap_pbt" and "optuna": "tpe" (Ozaki et al. 2022), "nsga2"
    (Deb et al. 2002), "gp" (Gaussian processes), "random" (draws that learn nothing, as a control)."""
    exploit_share: float = Field(default=0.25, gt=0.0, le=0.5)
    """Share of the population that copies a donor, and share that may donate."""
    proposal_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """How often new hyperparameters are a proposal of the study (in "pbt": a random draw); otherwise
    the donor's are perturbed."""
    perturbation: float = Field(default=0.2, gt=0.0, le=1.0)
    """How far a perturbation moves, as a share of each parameter's range; no further from the donor's
    lie the hyperparameters of training that the study proposes for a clone."""
    founders: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of the members that begins; the population grows towards all of them at the horizon,
    newcomers copying one of the best (`search.config.sizes`). Less than 1 makes lineages longer for the
    same env steps, but leaves slots idle at first."""
    density_tolerance: float = Field(default=0.1, ge=0.0)
    """A donor may be denser than the receiver by this share of the receiver's density."""
    synchronous: bool = False
    """Whether members wait for each other between segments, and decide on what all of them had done by
    then."""
    min_retained: float | None = Field(default=None, allow_inf_nan=False)
    """Members that retain less of the dense policy's return than this, above a random policy's, rank
    last; nobody does before the dense baseline is known. None: no such limit. What you want the result
    to keep is `goal.min_retained`."""
    sparsity_weight: float = Field(default=0.5, ge=0.0, le=1.0)
    """In "pbt", the weight of the sparsity in the sum; the return has the rest."""
    dense_share: float = Field(default=0.25, gt=0.0, lt=1.0)
    """In "train_then_prune", the share of the budget that the dense training takes."""

    @field_validator("objectives")
    @classmethod
    def _check_objectives(cls, objectives: tuple[Objective, ...]) -> tuple[Objective, ...]:
        if (
            len(objectives) < 2
            or objectives[0] != "return"
            or len(set(objectives)) < len(objectives)
        ):
            raise ValueError(
                f"[{', '.join(objectives)}]; expected return first, and at least one of sparsity, "
                "units, params, macs, bytes, latency, each once"
            )
        return objectives

    @model_validator(mode="after")
    def _check(self) -> SearchSettings:
        if self.synchronous and self.founders < 1.0:
            raise ValueError(
                f"search.founders = {self.founders} lets members begin later than others, and "
                "search.synchronous = true lets all wait for each other; leave one of them out"
            )
        if self.strategy == "train_then_prune" and "pruning.final_sparsity" not in self.space:
            raise ValueError(
                "search.strategy = train_then_prune prunes to levels spread over the range of "
                "pruning.final_sparsity, which search.space lacks; add it"
            )
        return self

    @property
    def measured(self) -> tuple[str, ...]:
        """Objectives that are measured on the policy."""
        return tuple(name for name in self.objectives if name not in GIVEN)


class BudgetSettings(Settings):
    """What a search may cost; at least one of `env_steps` and `seconds`."""

    env_steps: int | None = Field(default=None, gt=0)
    """Training env steps of all members together; baselines and evaluation come on top."""
    seconds: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """Wall-clock of the training, earlier processes of a resumed search included, kept to within one
    iteration a member; the dense baseline is trained to its end."""
    horizon: int | None = Field(default=None, gt=0)
    """Training env steps of one lineage; not given: as long as `env_steps` allow, which is `env_steps`
    ÷ members where all members train from the start."""

    @model_validator(mode="after")
    def _check(self) -> BudgetSettings:
        if self.env_steps is None and self.seconds is None:
            raise ValueError("budget needs env_steps or seconds; neither is given")
        if self.env_steps is None and self.horizon is None:
            raise ValueError(
                "budget.seconds alone does not say how long a member trains; give budget.horizon, the "
                "training env steps of one lineage"
            )
        return self
