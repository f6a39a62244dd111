"""Searched hyperparameters: range or choices, and the scale on which values are drawn and perturbed.

Imports neither Ray nor torch.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

Value = float | int | str | bool


class Suggests(Protocol):
    """The methods of `optuna.Trial` that are used here."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Suggests a float in [low, high]."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Suggests an integer in [low, high]."""
        ...

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Suggests one of the choices."""
        ...


class _Parameter(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class FloatParameter(_Parameter):
    """A real number in [`low`, `high`]."""

    type: Literal["float"]
    low: float = Field(allow_inf_nan=False)
    """Smallest value."""
    high: float = Field(allow_inf_nan=False)
    """Largest value."""
    scale: Literal["linear", "log", "log_density"] = "linear"
    """In what it is uniform: "linear"; "log" of the value; "log_density": log of 1 − value, for
    sparsities, where 0.9 → 0.99 is as far as 0.99 → 0.999."""

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
        """Returns the parameter's name and value as the Optuna study stores them."""
        if self.scale == "log_density":
            density = 1.0 - float(value)
            return f"1-{path}", min(max(density, 1.0 - self.high), 1.0 - self.low)
        return path, value

    def clip(self, value: Value, low: float = -math.inf, high: float = math.inf) -> float:
        """Clips a value to [`low`, `high`], then to the parameter's bounds, which take precedence."""
        return min(max(min(max(float(value), low), high), self.low), self.high)

    def draw(self, rng: np.random.Generator) -> float:
        """Draws a value uniformly on the parameter's own scale."""
        return self.clip(self._unwarp(rng.uniform(self._warp(self.low), self._warp(self.high))))

    def at(self, share: float, low: float = -math.inf, high: float = math.inf) -> float:
        """Returns the value at a share of the range from `low` to `high`, on the parameter's scale.

        Args:
            share: Position in the range, in [0, 1].
            low: Lower end of the range, clipped to the bounds.
            high: Upper end of the range, clipped to the bounds and at least the lower end.
        """
        least = self.clip(low)
        start, end = self._warp(least), self._warp(max(least, self.clip(high)))
        return self.clip(self._unwarp(start + share * (end - start)))

    def perturb(self, value: Value, strength: float, rng: np.random.Generator) -> float:
        """Moves a value randomly by up to `strength` of the range, on the parameter's own scale."""
        low, high = self._warp(self.low), self._warp(self.high)
        moved = self._warp(self.clip(value)) + strength * (high - low) * rng.uniform(-1.0, 1.0)
        return self.clip(self._unwarp(min(max(moved, low), high)))

    def within(self, value: Value, centre: Value, reach: float) -> float:
        """Clips a value to within `reach` of the range around `centre`, on the parameter's own scale."""
        low, high = self._warp(self.low), self._warp(self.high)
        at, wanted = self._warp(self.clip(centre)), self._warp(self.clip(value))
        most = reach * (high - low)
        if abs(wanted - at) <= most:
            return self.clip(value)
        return self.clip(self._unwarp(at + math.copysign(most, wanted - at)))


class IntParameter(_Parameter):
    """An integer in [`low`, `high`], both included."""

    type: Literal["int"]
    low: int
    """Smallest value."""
    high: int
    """Largest value."""
    log: bool = False
    """Uniform in the logarithm."""

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
        """Returns the parameter's name and value as the Optuna study stores them."""
        return path, value

    def clip(self, value: Value, low: float = -math.inf, high: float = math.inf) -> int:
        """Rounds a value and clips it to [`low`, `high`], then to the bounds, which take precedence."""
        value = float(value)
        near = math.ceil(low) if value < low else math.floor(high) if value > high else round(value)
        return min(max(near, self.low), self.high)

    def draw(self, rng: np.random.Generator) -> int:
        """Draws a value uniformly on the parameter's own scale."""
        if not self.log:
            return int(rng.integers(self.low, self.high, endpoint=True))
        return self.clip(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))

    def at(self, share: float) -> int:
        """Returns the value at a share of the range, in [0, 1], on the parameter's own scale."""
        if not self.log:
            return self.clip(self.low + share * (self.high - self.low))
        return self.clip(self.low * (self.high / self.low) ** share)

    def perturb(self, value: Value, strength: float, rng: np.random.Generator) -> int:
        """Moves a value randomly by up to `strength` of the range, and by at least 1."""
        value = self.clip(value)
        reach = strength * (
            value * math.log(self.high / self.low) if self.log else self.high - self.low
        )
        step = round(rng.uniform(-1.0, 1.0) * max(1.0, reach))
        return self.clip(value + (step or int(rng.choice((-1, 1)))))

    def within(self, value: Value, centre: Value, reach: float) -> int:
        """Clips a value to within `reach` of the range, but at least 1, around `centre`."""
        at = self.clip(centre)
        most = reach * (at * math.log(self.high / self.low) if self.log else self.high - self.low)
        most = max(1.0, most)
        return self.clip(value, low=math.ceil(at - most), high=math.floor(at + most))


class ChoiceParameter(_Parameter):
    """One of some values."""

    type: Literal["choice"]
    choices: tuple[Value, ...] = Field(min_length=2)
    """The values; two at least."""

    @property
    def extremes(self) -> tuple[Value, ...]:
        """All choices."""
        return self.choices

    def suggest(self, trial: Suggests, path: str) -> Value:
        """Asks Optuna for a value."""
        value: Value = trial.suggest_categorical(path, list(self.choices))
        return value

    def for_optuna(self, path: str, value: Value) -> tuple[str, Value]:
        """Returns the parameter's name and value as the Optuna study stores them."""
        return path, value

    def clip(self, value: Value, low: float = -math.inf, high: float = math.inf) -> Value:
        """Returns the value, or the first choice if the value is not one of the choices.

        Limits may be given if all choices are numbers. The result is then the choice within
        [`low`, `high`] nearest to the value, or the choice nearest to that interval if none is within.
        """
        if low == -math.inf and high == math.inf:
            return value if value in self.choices else self.choices[0]
        given = float(value)

        def distance(choice: Value) -> tuple[float, float]:
            number = float(choice)
            return max(0.0, low - number, number - high), abs(number - given)

        return min(self.choices, key=distance)

    def draw(self, rng: np.random.Generator) -> Value:
        """Draws one of the choices, each with the same probability."""
        return self.choices[int(rng.integers(len(self.choices)))]

    def at(self, share: float) -> Value:
        """Returns the choice at a share of the list, in [0, 1]."""
        return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]

    def perturb(self, value: Value, strength: float, rng: np.random.Generator) -> Value:
        """Draws a new choice with probability `strength`; otherwise keeps the value."""
        return self.draw(rng) if rng.random() < strength else self.clip(value)

    def within(self, value: Value, centre: Value, reach: float) -> Value:
        """Returns the value unchanged, because choices have no distance."""
        return value


Parameter = Annotated[FloatParameter | IntParameter | ChoiceParameter, Field(discriminator="type")]
