"""Differences of an evaluation from training: noise on observations and actions, other environment.

They are plain values, from which `rllib_ext.envs.shifted` builds environments. Imports neither Ray nor
torch.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
from collections.abc import Mapping
from typing import Any, Literal, get_args

from rllib_ext.pruning.errors import ConfigError

NoiseUnit = Literal["std", "absolute"]
Settings = tuple[tuple[str, Any], ...]

# Label of a shift that changes nothing.
UNSHIFTED = "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shift:
    """Differences from the environment that a policy was trained in.

    Raises:
        ConfigError: A value is out of its range.
    """

    noise: float = 0.0
    """Standard deviation of Gaussian noise on every observation, ≥ 0. The environment goes on
    undisturbed: only what the policy sees is noisy."""
    noise_unit: NoiseUnit = "std"
    """"std": in units of each component's own standard deviation, measured over undisturbed episodes;
    "absolute": in the observation's units."""
    action_noise: float = 0.0
    """For discrete actions the probability, in [0, 1], that a uniformly random one is taken instead.
    For a Box the standard deviation of Gaussian noise, ≥ 0, in halves of the action's range (absolute
    where it is unbounded); the sum is clipped to the range."""
    set: Settings = ()
    """Pairs of a name and a value: a keyword of the environment's constructor or, where that has none
    of the name, an attribute of the unwrapped environment. A mapping or pairs."""
    stochastic: bool = False
    """Whether actions are drawn from the policy's distribution; otherwise its mode is taken."""

    def __post_init__(self) -> None:
        given: Any = self.set
        pairs = given.items() if isinstance(given, Mapping) else given
        try:
            settings = tuple((str(name), value) for name, value in pairs)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"shift: set = {given!r}; expected names and values, such as gravity: 15."
            ) from error
        object.__setattr__(self, "set", settings)
        for name in ("noise", "action_noise"):
            value = getattr(self, name)
            number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if not number or not 0.0 <= value < math.inf:
                raise ConfigError(f"shift: {name} = {value!r}; expected a number of 0 or more.")
        if self.noise_unit not in get_args(NoiseUnit):
            raise ConfigError(
                f"shift: noise_unit = {self.noise_unit!r}; expected one of "
                f"{', '.join(get_args(NoiseUnit))}."
            )
        if not isinstance(self.stochastic, bool):
            raise ConfigError(f"shift: stochastic = {self.stochastic!r}; expected true or false.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Shift:
        """Builds a shift from plain values; the error for a misspelt key names the nearest one.

        Raises:
            ConfigError: A key is unknown, or a value out of its range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"shift: unknown key {key!r}.{hint} Known: {', '.join(known)}.")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Returns the values that differ from the defaults, as plain values for `from_dict`."""
        changed = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }
        return {**changed, "set": dict(self.set)} if self.set else changed

    @property
    def label(self) -> str:
        """Name of the shift in tables; "none" if nothing differs but the seeds."""
        unit = " std" if self.noise_unit == "std" else ""
        parts = [f"observation noise {_plain(float(self.noise))}{unit}"] if self.noise else []
        parts += [f"action noise {_plain(float(self.action_noise))}"] if self.action_noise else []
        parts += [f"{name} = {_plain(value)}" for name, value in self.set]
        parts += ["stochastic"] if self.stochastic else []
        return ", ".join(parts) or UNSHIFTED


def _plain(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
