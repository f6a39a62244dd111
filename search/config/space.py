"""The search space: asks Optuna for values, perturbs hyperparameters within bounds and clips them.

A parameter is named by its path, such as "pruning.final_sparsity" or "training.lr". Imports neither Ray
nor torch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from search.config.parameter import ChoiceParameter, FloatParameter, IntParameter, Suggests, Value

Values = dict[str, Value]

# The hyperparameter that sets the sparsity at which a lineage ends.
TARGET = "pruning.final_sparsity"

# Parameters that are fixed for a lineage: drawn at its birth and inherited by every clone.
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
# Parameters that act only under some values of another parameter.
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
# Pairs of parameters whose first must not exceed the second.
ORDERED = (("pruning.begin", "pruning.end"), ("pruning.min_step", "pruning.step"))


class Space:
    """A search space of hyperparameters.

    Args:
        parameters: Searched parameters by path, in drawing order; those that decide others come first.
        fixed: Values of hyperparameters that aren't searched, by path; they count for conditions too.
    """

    def __init__(
        self,
        parameters: Mapping[str, FloatParameter | IntParameter | ChoiceParameter],
        fixed: Mapping[str, Value] | None = None,
    ) -> None:
        self.parameters = dict(parameters)
        self.fixed = dict(fixed or {})

    def reach(self, path: str) -> tuple[Value, ...]:
        """Returns the ends of a searched range, all choices of a searched choice, or the fixed value."""
        return self.parameters[path].extremes if path in self.parameters else (self.fixed[path],)

    def suggest(self, trial: Suggests, among: Collection[str] | None = None) -> Values:
        """Asks Optuna for values of all parameters that act.

        Args:
            trial: Optuna trial that suggests the values.
            among: Paths of the parameters to ask for, or None for all.
        """
        values: Values = {}
        for path, parameter in self._in_order():
            if self._acts(path, values) and (among is None or path in among):
                values[path] = parameter.suggest(trial, path)
        return values

    def clip(
        self, values: Mapping[str, Value], at_least: Mapping[str, float] | None = None
    ) -> Values:
        """Returns the nearest values within the bounds, for the parameters that act.

        Args:
            values: Values by path; parameters that are missing stay missing.
            at_least: Lower limits of parameters by path; a parameter's bounds take precedence.
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
        """Returns the values of a new lineage, whose start is no sparser than its final sparsity.

        A sparser start would never come to its target, and the study would record a different target.
        The bounds of the start density take precedence.

        Args:
            values: Clipped values by path.
        """
        target = values.get(TARGET, self.fixed.get(TARGET))
        if START_DENSITY not in values or target is None:
            return dict(values)
        density = self.parameters[START_DENSITY].clip(
            values[START_DENSITY], low=1.0 - float(target)
        )
        return {**values, START_DENSITY: density}

    def _put_in_order(self, values: Values, lower: str, upper: str) -> None:
        """Raises the upper value of a pair to the lower one; lowers the other if bounds forbid that."""
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
        """Returns perturbed values within the bounds; parameters in `BIRTH` are inherited unchanged.

        Args:
            values: Hyperparameters of a donor.
            strength: Largest move as a share of each range, in [0, 1].
            rng: Random generator for the moves.

        Returns:
            Values of the parameters that act; one that the donor did not have is drawn uniformly.
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
        """Returns the values, with those of `training.…` clipped to a neighbourhood of `centre`.

        Args:
            values: Values by path.
            centre: Centres by path; parameters that it lacks stay unchanged.
            reach: Largest distance as a share of each range, in [0, 1], on the parameter's own scale;
                choices stay unchanged.
        """
        found = dict(values)
        for path in values.keys() & centre.keys():
            if path.startswith("training."):
                found[path] = self.parameters[path].within(values[path], centre[path], reach)
        return found

    def for_optuna(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Returns names and values as the Optuna study stores them."""
        return dict(self.parameters[path].for_optuna(path, v) for path, v in values.items())

    def _in_order(self) -> list[tuple[str, Any]]:
        # Parameters that decide which others act come first.
        return sorted(self.parameters.items(), key=lambda item: item[0] not in (SCHEDULE, START))

    def _acts(self, path: str, values: Mapping[str, Value]) -> bool:
        if path not in ONLY_UNDER:
            return True
        decider, under = ONLY_UNDER[path]
        return values.get(decider, self.fixed.get(decider)) in under
