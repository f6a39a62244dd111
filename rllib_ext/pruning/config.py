"""What to prune, how far, and when."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from rllib_ext.pruning.errors import ConfigError

Criterion = Literal["magnitude", "random"]
Granularity = Literal["weight"]
Scope = Literal["global", "layerwise"]
Schedule = Literal["one_shot", "linear", "cubic", "plateau"]
ThresholdUnit = Literal["absolute", "std"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruningConfig:
    """How a policy is pruned while it trains.

    With `final_sparsity` alone, exactly round(s·n) of the n weights on the policy path are zero at
    schedule value s. With `threshold` alone, weights whose score is below it are. With both, weights
    below the threshold go, but never more than the schedule's sparsity allows.

    Attributes:
        final_sparsity: Share of the policy path's weights that are zero at the end, in [0, 1).
            None: `threshold` alone says how far.
        critic_final_sparsity: The same for weights that only the critic uses, in [0, 1). Follows the
            same schedule; 0 leaves the critic dense.
        threshold: Prune where score < threshold, ≥ 0. Under a schedule it rises from 0. None: none.
        threshold_unit: "absolute", or "std": multiples of a layer's standard deviation of weights.
        schedule: How the sparsity (or the threshold) rises between `begin` and `end`; "plateau"
            raises it only while the evaluated return holds.
        begin: Where the schedule starts, as a share of `horizon`, in [0, 1].
        end: Where the schedule has reached its value, as a share of `horizon`, in [`begin`, 1].
        horizon: The training budget in env steps, > 0.
        criterion: The importance score of a weight.
        granularity: What is removed at a time.
        scope: Where scores compete: over all layers, or within each layer.
        exclude: Layers that stay dense, as shell patterns over parameter names ("pi.*").
        step: Sparsity (or share of the threshold) that "plateau" adds at a time, in (0, 1].
        min_step: The step below which "plateau" ends, in (0, `step`].
        patience: Evaluations for which "plateau" waits for the return to recover, ≥ 0.
        tolerance: Return that "plateau" may lose, as a share of (reference − random return), in [0, 1].
        random_return: Mean return of a policy that acts at random; "plateau" needs it. None: it is
            measured when training starts.

    Raises:
        ConfigError: A value is out of its range, or the values contradict each other.
    """

    final_sparsity: float | None = 0.9
    critic_final_sparsity: float = 0.0
    threshold: float | None = None
    threshold_unit: ThresholdUnit = "absolute"
    schedule: Schedule = "cubic"
    begin: float = 0.2
    end: float = 0.8
    horizon: int | None = None
    criterion: Criterion = "magnitude"
    granularity: Granularity = "weight"
    scope: Scope = "global"
    exclude: tuple[str, ...] = ()
    step: float = 0.05
    min_step: float = 0.005
    patience: int = 5
    tolerance: float = 0.05
    random_return: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "exclude", tuple(self.exclude))
        for name, choices in _CHOICES.items():
            _check_choice(name, getattr(self, name), choices)
        if self.final_sparsity is None and self.threshold is None:
            raise ConfigError(
                "pruning: neither final_sparsity nor threshold is given, so there is no saying how "
                "far to prune. Give one of them, or both."
            )
        if self.final_sparsity is not None:
            _check_range("final_sparsity", self.final_sparsity, 0.0, 1.0, high_open=True)
        _check_range("critic_final_sparsity", self.critic_final_sparsity, 0.0, 1.0, high_open=True)
        if self.threshold is not None:
            _check_range("threshold", self.threshold, 0.0, math.inf, high_open=True)
        _check_range("begin", self.begin, 0.0, 1.0)
        _check_range("end", self.end, 0.0, 1.0)
        if self.begin > self.end:
            raise ConfigError(
                f"pruning: begin = {self.begin} lies after end = {self.end}. Both are shares of the "
                "horizon; expected begin <= end, for example begin=0.2, end=0.8."
            )
        if self.horizon is not None and self.horizon <= 0:
            raise ConfigError(f"pruning: horizon = {self.horizon}; expected env steps above 0.")
        _check_range("step", self.step, 0.0, 1.0, low_open=True)
        _check_range("min_step", self.min_step, 0.0, self.step, low_open=True)
        _check_range("tolerance", self.tolerance, 0.0, 1.0)
        if self.patience < 0:
            raise ConfigError(
                f"pruning: patience = {self.patience}; expected 0 or more evaluations."
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PruningConfig:
        """Builds a configuration from plain values, naming a misspelt key.

        Raises:
            ConfigError: A key is unknown, or a value is out of range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = (
                    f" Did you mean {near[0]!r}?" if near else f" Known keys: {', '.join(known)}."
                )
                raise ConfigError(f"pruning: unknown key {key!r}.{hint}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` turns back into an equal configuration."""
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> PruningConfig:
        """A copy with some values changed.

        Raises:
            ConfigError: As the constructor.
        """
        return dataclasses.replace(self, **changes)


_CHOICES: dict[str, tuple[str, ...]] = {
    "criterion": get_args(Criterion),
    "granularity": get_args(Granularity),
    "scope": get_args(Scope),
    "schedule": get_args(Schedule),
    "threshold_unit": get_args(ThresholdUnit),
}


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"pruning: {name} = {value!r}; expected one of {', '.join(choices)}.{hint}"
        )


def _check_range(
    name: str,
    value: float,
    low: float,
    high: float,
    *,
    low_open: bool = False,
    high_open: bool = False,
) -> None:
    above = value > low if low_open else value >= low
    below = value < high if high_open else value <= high
    if isinstance(value, bool) or not (above and below):
        interval = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"
        raise ConfigError(f"pruning: {name} = {value!r}; expected a number in {interval}.")
