"""The search space: one object gives Optuna its distributions, mutates within bounds and clips.

A parameter is named by its path, "pruning.final_sparsity" or "training.lr". Imports neither Ray nor
torch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

Value = float | int | str | bool
Values = dict[str, Value]

# Parameters that belong to a lineage: drawn at its birth, inherited by every clone.
BIRTH = frozenset(
    {"pruning.criterion", "pruning.granularity", "pruning.scope", "pruning.threshold_unit"}
)
# Parameters that act under one schedule only.
ONLY_UNDER = {
    "pruning.step": "plateau",
    "pruning.min_step": "plateau",
    "pruning.patience": "plateau",
    "pruning.tolerance": "plateau",
    "pruning.round_share": "iterative",
    "pruning.rewind_to": "iterative",
    "pruning.regrow": "constant",
    "pruning.regrow_share": "constant",
    "pruning.regrow_interval": "constant",
}
# Pairs of which the first must not exceed the second.
ORDERED = (("pruning.begin", "pruning.end"), ("pruning.min_step", "pruning.step"))


class Suggests(Protocol):
    """What is used of an `optuna.Trial`."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A float in [low, high]."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """An integer in [low, high]."""
        ...

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of the choices."""
        ...


class _Parameter(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FloatParameter(_Parameter):
    """A real number in [`low`, `high`].

    Attributes:
        low: Smallest value.
        high: Largest value.
        scale: In what it is uniform: "linear"; "log" of the value; "log_density": log of 1 − value,
            for sparsities, where 0.9 → 0.99 is as far as 0.99 → 0.999.
    """

    type: Literal["float"]
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    scale: Literal["linear", "log", "log_density"] = "linear"

    @model_validator(mode="after")
    def _check(self) -> FloatParameter:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low} is not below high = {self.high}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low = {self.low}; scale: log needs low > 0")
        if self.scale == "log_density" and not (self.low >= 0 and self.high < 1):
            raise ValueError(f"[{self.low}, {self.high}]; scale: log_density needs it in [0, 1)")
        return self

    def _warp(self, value: float) -> float:
        if self.scale == "log":
            return math.log(value)
        return -math.log1p(-value) if self.scale == "log_density" else value

    def _unwarp(self, warped: float) -> float:
        if self.scale == "log":
            return math.exp(warped)
        return -math.expm1(-warped) if self.scale == "log_density" else warped

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Smallest and largest value."""
        return (self.low, self.high)

    def suggest(self, trial: Suggests, path: str) -> float:
        """Asks Optuna for a value."""
        if self.scale == "log_density":
            low, high = 1.0 - self.high, 1.0 - self.low
            return self.clip(1.0 - trial.suggest_float(f"1-{path}", low, high, log=True))
        return trial.suggest_float(path, self.low, self.high, log=self.scale == "log")

    def for_optuna(self, path: str, value: Value) -> tuple[str, Value]:
        """The name and value that the study knows the parameter by."""
        if self.scale == "log_density":
            density = 1.0 - float(value)
            return f"1-{path}", min(max(density, 1.0 - self.high), 1.0 - self.low)
        return path, value

    def clip(self, value: Value, low: float = -math.inf, high: float = math.inf) -> float:
        """The nearest value within the bounds and, as far as they allow, within [`low`, `high`]."""
        return min(max(min(max(float(value), low), high), self.low), self.high)

    def draw(self, rng: np.random.Generator) -> float:
        """A value uniform on the parameter's own scale."""
        return self.clip(self._unwarp(rng.uniform(self._warp(self.low), self._warp(self.high))))

    def at(self, share: float) -> float:
        """The value at a share of the range, in [0, 1], on the parameter's own scale."""
        low, high = self._warp(self.low), self._warp(self.high)
        return self.clip(self._unwarp(low + share * (high - low)))

    def perturb(self, value: Value, strength: float, rng: np.random.Generator) -> float:
        """Moves by up to `strength` of the range, on the parameter's own scale."""
        low, high = self._warp(self.low), self._warp(self.high)
        moved = self._warp(self.clip(value)) + strength * (high - low) * rng.uniform(-1.0, 1.0)
        return self.clip(self._unwarp(min(max(moved, low), high)))


class IntParameter(_Parameter):
    """An integer in [`low`, `high`], both included.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Uniform in the logarithm.
    """

    type: Literal["int"]
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> IntParameter:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low} is not below high = {self.high}")
        if self.log and self.low < 1:
            raise ValueError(f"low = {self.low}; log: true needs low >= 1")
        return self

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Smallest and largest value."""
        return (self.low, self.high)

    def suggest(self, trial: Suggests, path: str) -> int:
        """Asks Optuna for a value."""
        return trial.suggest_int(path, self.low, self.high, log=self.log)

    def for_optuna(self, path: str, value: Value) -> tuple[str, Value]:
        """The name and value that the study knows the parameter by."""
        return path, value

    def clip(self, value: Value, low: float = -math.inf, high: float = math.inf) -> int:
        """The nearest value within the bounds and, as far as they allow, within [`low`, `high`]."""
        value = float(value)
        near = math.ceil(low) if value < low else math.floor(high) if value > high else round(value)
        return min(max(near, self.low), self.high)

    def draw(self, rng: np.random.Generator) -> int:
        """A value uniform on the parameter's own scale."""
        if not self.log:
            return int(rng.integers(self.low, self.high, endpoint=True))
        return self.clip(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))

    def at(self, share: float) -> int:
        """The value at a share of the range, in [0, 1], on the parameter's own scale."""
        if not self.log:
            return self.clip(self.low + share * (self.high - self.low))
        return self.clip(self.low * (self.high / self.low) ** share)

    def perturb(self, value: Value, strength: float, rng: np.random.Generator) -> int:
        """Moves by up to `strength` of the range, and by 1 at least."""
        value = self.clip(value)
        reach = strength * (
            value * math.log(self.high / self.low) if self.log else self.high - self.low
        )
        step = round(rng.uniform(-1.0, 1.0) * max(1.0, reach))
        return self.clip(value + (step or int(rng.choice((-1, 1)))))


class ChoiceParameter(_Parameter):
    """One of some values.

    Attributes:
        choices: The values; two at least.
    """

    type: Literal["choice"]
    choices: tuple[Value, ...] = Field(min_length=2)

    @property
    def extremes(self) -> tuple[Value, ...]:
        """All choices."""
        return self.choices

    def suggest(self, trial: Suggests, path: str) -> Value:
        """Asks Optuna for a value."""
        value: Value = trial.suggest_categorical(path, list(self.choices))
        return value

    def for_optuna(self, path: str, value: Value) -> tuple[str, Value]:
        """The name and value that the study knows the parameter by."""
        return path, value

    def clip(self, value: Value, low: float = -math.inf, high: float = math.inf) -> Value:
        """The value, or the first choice where it is none of them.

        Limits are for choices that are numbers: then the nearest choice within [`low`, `high`], or
        the one nearest to it.
        """
        if low == -math.inf and high == math.inf:
            return value if value in self.choices else self.choices[0]
        given = float(value)

        def distance(choice: Value) -> tuple[float, float]:
            number = float(choice)
            return max(0.0, low - number, number - high), abs(number - given)

        return min(self.choices, key=distance)

    def draw(self, rng: np.random.Generator) -> Value:
        """A choice, every one alike."""
        return self.choices[int(rng.integers(len(self.choices)))]

    def at(self, share: float) -> Value:
        """The choice at a share of the list, in [0, 1]."""
        return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]

    def perturb(self, value: Value, strength: float, rng: np.random.Generator) -> Value:
        """Draws anew with probability `strength`."""
        return self.draw(rng) if rng.random() < strength else self.clip(value)


Parameter = Annotated[FloatParameter | IntParameter | ChoiceParameter, Field(discriminator="type")]


class Space:
    """The searched hyperparameters.

    Args:
        parameters: By path, in the order in which they are drawn.
        fixed: Values of what isn't searched, by path; conditions look there too.
    """

    def __init__(
        self,
        parameters: Mapping[str, FloatParameter | IntParameter | ChoiceParameter],
        fixed: Mapping[str, Value] | None = None,
    ) -> None:
        self.parameters = dict(parameters)
        self.fixed = dict(fixed or {})

    def suggest(self, trial: Suggests, among: Collection[str] | None = None) -> Values:
        """Asks Optuna for all parameters that act.

        Args:
            trial: Whom to ask.
            among: Paths of those that are asked for; None: all.
        """
        values: Values = {}
        for path, parameter in self._in_order():
            if self._acts(path, values) and (among is None or path in among):
                values[path] = parameter.suggest(trial, path)
        return values

    def clip(
        self, values: Mapping[str, Value], at_least: Mapping[str, float] | None = None
    ) -> Values:
        """The nearest values within the bounds, of the parameters that act.

        Args:
            values: By path; what is missing stays missing.
            at_least: Values that a parameter must not fall below, where its bounds allow.
        """
        floors = at_least or {}
        clipped: Values = {}
        for path, parameter in self._in_order():
            if path not in values or not self._acts(path, clipped):
                continue
            clipped[path] = parameter.clip(values[path], floors.get(path, -math.inf))
        for lower, upper in ORDERED:
            self._put_in_order(clipped, lower, upper)
        return clipped

    def _put_in_order(self, values: Values, lower: str, upper: str) -> None:
        """Raises the upper one of a pair, and where its bounds forbid that lowers the other."""
        both = {**self.fixed, **values}
        if lower not in both or upper not in both or float(both[lower]) <= float(both[upper]):
            return
        if upper in values:
            both[upper] = values[upper] = self.parameters[upper].clip(
                values[upper], low=float(both[lower])
            )
        if lower in values:
            values[lower] = self.parameters[lower].clip(values[lower], high=float(both[upper]))

    def perturb(
        self, values: Mapping[str, Value], strength: float, rng: np.random.Generator
    ) -> Values:
        """A neighbour within the bounds; what belongs to the lineage is inherited.

        Args:
            values: Hyperparameters of a donor.
            strength: How far to move, as a share of each range, in [0, 1].
            rng: Draws the moves.

        Returns:
            The parameters that act; one that the donor did not have is drawn uniformly.
        """
        moved: Values = {}
        for path, parameter in self._in_order():
            if not self._acts(path, moved):
                continue
            if path not in values:
                moved[path] = parameter.draw(rng)
            elif path in BIRTH:
                moved[path] = parameter.clip(values[path])
            else:
                moved[path] = parameter.perturb(values[path], strength, rng)
        return self.clip(moved)

    def for_optuna(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Values by the names that the study knows them by."""
        return dict(self.parameters[path].for_optuna(path, v) for path, v in values.items())

    def _in_order(self) -> list[tuple[str, Any]]:
        # The schedule decides which others act, so it comes first.
        return sorted(self.parameters.items(), key=lambda item: item[0] != "pruning.schedule")

    def _acts(self, path: str, values: Mapping[str, Value]) -> bool:
        if path not in ONLY_UNDER:
            return True
        schedule = values.get("pruning.schedule", self.fixed.get("pruning.schedule"))
        return schedule == ONLY_UNDER[path]
