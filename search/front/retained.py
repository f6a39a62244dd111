"""The scale of retained returns: 0 is the random policy, 1 the dense one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Normal quantile of a two-sided 95 % interval.
Z95 = 1.959964


@dataclasses.dataclass(frozen=True)
class Scale:
    """A scale of returns: 0 is the random policy, 1 the dense one.

    Attributes:
        random: Mean return of the random policy.
        dense: Mean return of the dense baseline.
        floor: Mean return of the better of random and constant action; a feasible policy exceeds it.
        note: Reason why `retained` is NaN; empty if it is defined.
    """

    random: float = math.nan
    dense: float = math.nan
    floor: float = -math.inf
    note: str = ""

    def retained(self, returns: ArrayLike) -> Floats:
        """Returns (R − R_random) ÷ (R_dense − R_random), or NaN for the reason in `note`."""
        if self.note:
            return np.full(np.shape(returns), np.nan)
        return retained(returns, self.random, self.dense)

    @property
    def retained_floor(self) -> float:
        """Retained share of the better of random and constant action: the hypervolume's reference."""
        return float(self.retained(self.floor))


def retained(returns: ArrayLike, random: float, dense: float) -> Floats:
    """Returns the share of the dense policy's gain over a random one that policies keep.

    Args:
        returns: Mean returns R.
        random: Mean return of the random policy.
        dense: Mean return of the dense policy.

    Returns:
        (R − R_random) ÷ (R_dense − R_random); NaN unless the dense policy is better than the random one.
    """
    values = np.asarray(returns, dtype=np.float64)
    if not dense > random:
        return np.full(values.shape, np.nan)
    return np.asarray((values - random) / (dense - random), dtype=np.float64)


def scale_of(
    random: Sequence[float] | Floats,
    dense: Sequence[float] | Floats,
    constant: Sequence[float] | Floats = (),
) -> Scale:
    """Returns the scale that episodes of the baselines define.

    It is only defined if the dense baseline is clearly above random: if the 95 % interval of the
    difference of their means (Welch) is above 0.

    Args:
        random: Returns of the random policy's episodes; empty if it wasn't evaluated.
        dense: Returns of the dense baseline's episodes; empty if it wasn't evaluated.
        constant: Returns of the best constant action's episodes; empty if it wasn't evaluated.
    """
    r, d, c = (np.asarray(v, dtype=np.float64) for v in (random, dense, constant))
    means = [float(v.mean()) if v.size else math.nan for v in (r, d)]
    floors = [float(v.mean()) for v in (r, c) if v.size]
    scale = Scale(means[0], means[1], max(floors, default=-math.inf))
    missing = [name for name, v in (("random", r), ("dense", d)) if not v.size]
    if missing:
        names, have = " and the ".join(missing), "have" if len(missing) > 1 else "has"
        note = f"retained is unknown: the {names} baseline {have} no episodes"
        return dataclasses.replace(scale, note=note)
    error = math.sqrt(sum(v.var(ddof=1) / v.size for v in (r, d) if v.size > 1))
    if not means[1] - means[0] > Z95 * error:
        note = (
            f"retained is undefined: the dense baseline ({means[1]:.4g}) is not clearly above the "
            f"random policy ({means[0]:.4g}). Train it for longer, or mend its configuration"
        )
        return dataclasses.replace(scale, note=note)
    return scale
