"""The sensitivity of a policy to pruning single layers: measurements and conclusions. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """A policy with one layer pruned by magnitude, all others as they were.

    Attributes:
        layer: Name of the layer's weights.
        sparsity: This layer's sparsity, in (0, 1].
        return_mean: Mean return of fresh episodes; NaN where none were run.
        return_std: Their sample standard deviation.
        kl: Mean KL(before ‖ pruned) of the action distributions, in nats, ≥ 0, over observations of the
            policy as it was before.
    """

    layer: str
    sparsity: float
    return_mean: float
    return_std: float
    kl: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class SensitivityTable:
    """Sensitivity of each layer.

    Attributes:
        return_mean: Mean return of the policy as it was, on the same seeds.
        return_std: Sample standard deviation of the return.
        episodes: Episodes of each mean; 0: returns were not measured.
        measurements: Layer by layer, by rising sparsity.
    """

    return_mean: float
    return_std: float
    episodes: int
    measurements: tuple[Measurement, ...]

    def damage(self, by: Literal["kl", "return"] = "kl") -> dict[str, list[tuple[float, float]]]:
        """Points (sparsity, damage) of each layer, for `PruningConfig(criterion="sensitivity")`.

        Args:
            by: "kl": the divergence, which needs no episode and has little noise. "return": what the
                mean return lost, at least 0.

        Raises:
            ValueError: `by` is "return", and returns were not measured.
        """
        if by == "return" and not self.episodes:
            raise ValueError("returns were not measured; use damage('kl'), or measure with seeds")
        curves: dict[str, list[tuple[float, float]]] = {}
        for m in self.measurements:
            damage = m.kl if by == "kl" else max(0.0, self.return_mean - m.return_mean)
            curves.setdefault(m.layer, []).append((m.sparsity, damage))
        return curves

    def rows(self) -> list[dict[str, Any]]:
        """One plain row a measurement, with "return_lost", for a table or a file."""
        return [
            {**dataclasses.asdict(m), "return_lost": self.return_mean - m.return_mean}
            for m in self.measurements
        ]


def ordered(measurements: Iterable[Measurement]) -> tuple[Measurement, ...]:
    """Measurements layer by layer, as the layers first came, by rising sparsity."""
    given = list(measurements)
    layers = list(dict.fromkeys(m.layer for m in given))
    return tuple(sorted(given, key=lambda m: (layers.index(m.layer), m.sparsity)))
