"""The search space: one object gives Optuna its distributions, mutates within bounds and clips.

A parameter is named by its path, "pruning.final_sparsity" or "training.lr". Imports neither Ray nor
torch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from search.config.parameter import ChoiceParameter, FloatParameter, IntParameter, Suggests, Value

Values = dict[str, Value]

# The hyperparameter that decides where on the front a lineage ends.
TARGET = "pruning.final_sparsity"

# Parameters that belong to a lineage: drawn at its birth, inherited by every clone.
BIRTH = frozenset(
    {
        "pruning.criterion",
        "pruning.granularity",
        "pruning.scope",
        "pruning.threshold_unit",
        "pruning.start",
        "pruning.start_density",
    }
)
SCHEDULE, START, START_DENSITY = "pruning.schedule", "pruning.start", "pruning.start_density"
# Parameters that act under some values of another one only.
ONLY_UNDER = {
    "pruning.step": (SCHEDULE, ("plateau",)),
    "pruning.min_step": (SCHEDULE, ("plateau",)),
    "pruning.patience": (SCHEDULE, ("plateau",)),
    "pruning.tolerance": (SCHEDULE, ("plateau",)),
    "pruning.round_share": (SCHEDULE, ("iterative",)),
    "pruning.rewind_to": (SCHEDULE, ("iterative",)),
    "pruning.regrow": (SCHEDULE, ("constant",)),
    "pruning.regrow_share": (SCHEDULE, ("constant",)),
    "pruning.regrow_interval": (SCHEDULE, ("constant",)),
    START_DENSITY: (START, ("narrow", "sparse")),
}
# Pairs of which the first must not exceed the second.
ORDERED = (("pruning.begin", "pruning.end"), ("pruning.min_step", "pruning.step"))


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

    def reach(self, path: str) -> tuple[Value, ...]:
        """The ends of a searched parameter, or all of its choices; of a fixed one its value."""
        return self.parameters[path].extremes if path in self.parameters else (self.fixed[path],)

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

    def born(self, values: Mapping[str, Value]) -> Values:
        """Values of a fresh lineage, which starts no sparser than it is to end, where bounds allow.

        Sparser, it would never come to its target, and the study would hear of another one.

        Args:
            values: By path, clipped.
        """
        target = values.get(TARGET, self.fixed.get(TARGET))
        if START_DENSITY not in values or target is None:
            return dict(values)
        density = self.parameters[START_DENSITY].clip(
            values[START_DENSITY], low=1.0 - float(target)
        )
        return {**values, START_DENSITY: density}

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

    def near(
        self, values: Mapping[str, Value], centre: Mapping[str, Value], reach: float
    ) -> Values:
        """The values, those of training no further from others than a share of the range.

        Args:
            values: By path.
            centre: The others; what is not among them stays.
            reach: The share, in [0, 1], on each parameter's own scale; choices stay.
        """
        found = dict(values)
        for path in values.keys() & centre.keys():
            if path.startswith("training."):
                found[path] = self.parameters[path].within(values[path], centre[path], reach)
        return found

    def for_optuna(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Values by the names that the study knows them by."""
        return dict(self.parameters[path].for_optuna(path, v) for path, v in values.items())

    def _in_order(self) -> list[tuple[str, Any]]:
        # Those that decide which others act come first.
        return sorted(self.parameters.items(), key=lambda item: item[0] not in (SCHEDULE, START))

    def _acts(self, path: str, values: Mapping[str, Value]) -> bool:
        if path not in ONLY_UNDER:
            return True
        decider, under = ONLY_UNDER[path]
        return values.get(decider, self.fixed.get(decider)) in under
