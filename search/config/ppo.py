"""PPO settings: arguments passed through to RLlib, and shorter forms of some RLlib settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from rllib_ext.rl.settings.ranges import SCHEDULED
from search.config.parameter import Value
from search.config.settings import Settings

# Keys of a linear schedule over a member's horizon.
FROM, TO = "from", "to"


class PreprocessSettings(Settings):
    """What the policy sees and learns from in place of what the environment gives.

    Returns that are reported are the environment's own.
    """

    normalize: bool | Literal["observations", "rewards"] = False
    """Whether observations are normalised by their running mean and standard deviation, and rewards
    divided by the running standard deviation of the discounted return; "observations" or "rewards": only
    these."""
    clip_obs: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """Largest magnitude of an observation, after it was normalised; not given: 10 where it is, else
    any."""
    clip_reward: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """Largest magnitude of a reward, after it was scaled; not given: 10 where it is, else any."""
    frame_stack: int = Field(default=1, ge=1)
    """How many of the last observations the policy sees, joined along the last axis."""


class PPOSettings(Settings):
    """What is passed through to the methods of RLlib's `PPOConfig` of the same names.

    Where RLlib takes a class or a callable, "package.module:Name" names it.
    """

    training: dict[str, Any] = Field(default={})
    """Keyword arguments of `PPOConfig.training`; `lr` and `entropy_coeff` also as {from: 3e-4, to: 0}, a
    line over a member's horizon."""
    env_runners: dict[str, Any] = Field(default={})
    """Arguments of `PPOConfig.env_runners`."""
    rl_module: dict[str, Any] = Field(default={})
    """Arguments of `PPOConfig.rl_module`; `model_config` also takes `ortho_init: true`, layers that
    begin orthogonal, the policy's last one small, and `log_std_init`."""
    learners: dict[str, Any] = Field(default={})
    """Arguments of `PPOConfig.learners`."""
    environment: dict[str, Any] = Field(default={})
    """Arguments of `PPOConfig.environment`, beside `env` and `env_config`."""
    callbacks: dict[str, Any] = Field(default={})
    """Arguments of `PPOConfig.callbacks`."""
    preprocess: PreprocessSettings = PreprocessSettings()
    """Normalisation, frame stacking and clipping."""

    @field_validator("training")
    @classmethod
    def _check_lines(cls, training: dict[str, Any]) -> dict[str, Any]:
        for name, value in training.items():
            if not _is_line(value):
                continue
            if name not in SCHEDULED:
                expected = (
                    f"no mapping: only {' and '.join(SCHEDULED)} can go from one value to another"
                )
            elif set(value) != {FROM, TO} or not all(map(_is_at_least_zero, value.values())):
                expected = "{from: 3e-4, to: 0}, both numbers of 0 or more"
            else:
                continue
            raise ValueError(f"training.{name} = {value!r}; expected {expected}")
        return training

    def methods(self, horizon: int) -> dict[str, dict[str, Any]]:
        """Returns the arguments for each method of `PPOConfig`, by the method's name.

        Args:
            horizon: Horizon of a member, in env steps.
        """
        names = [name for name in PPOSettings.model_fields if name != "preprocess"]
        given = {name: dict(getattr(self, name)) for name in names}
        given["training"] = {
            name: _line(value, value[FROM], horizon) if _is_line(value) else value
            for name, value in self.training.items()
        }
        return given

    def started_at(self, name: str, value: Value, horizon: int) -> Any:
        """Returns the argument for RLlib that a searched value gives.

        If the configuration has a linear schedule for the argument, the value scales all of it.

        Args:
            name: Name of an argument of `PPOConfig.training`.
            value: The member's value of the hyperparameter.
            horizon: Horizon of a member, in env steps.

        Returns:
            The value, or an RLlib schedule that starts from it.
        """
        given = self.training.get(name)
        return _line(given, float(value), horizon) if given and _is_line(given) else value


def _is_line(value: Any) -> bool:
    return isinstance(value, Mapping) and not value.keys().isdisjoint((FROM, TO))


def _line(given: Mapping[str, float], start: float, horizon: int) -> list[list[float]]:
    """Returns an RLlib schedule: pairs of env steps and a value, interpolated linearly."""
    share = given[TO] / given[FROM] if given[FROM] else None
    return [[0, start], [horizon, given[TO] if share is None else share * start]]


def _is_at_least_zero(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0.0 <= value < math.inf
