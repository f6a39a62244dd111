"""Checks the keys of `model_config` for RLlib's own PPO network, whose catalog ignores unknown ones.

The known keys are the fields of RLlib's `DefaultModelConfig`. A few of those have no effect on PPO's
network either: no module of the new API stack reads them (tests/rllib_ext/test_model_keys.py looks).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.default_ppo_rl_module import DefaultPPORLModule
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from rllib_ext.base.hints import nearest
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.module import initial
from rllib_ext.rl.module.initial import InitialCatalog, refuse_wrong_values

_PREVIOUS = (
    "a connector adds them to observations: ppo.env_runners.env_to_module_connector={class: "
    "'ray.rllib.connectors.env_to_module:PrevActionsPrevRewards'}, or in Python a function that "
    "returns one"
)
_OWN_MODULE = (
    "ortho_init: true initialises layers orthogonally and the policy's last one small (in Python "
    "rllib_ext.with_initial_weights); anything else an RLModule or a catalog of your own"
)
# Fields that PPO's network and its connectors don't read, and what to use instead.
UNREAD = {
    "lstm_use_prev_action": _PREVIOUS,
    "lstm_use_prev_reward": _PREVIOUS,
    **{
        f"head_fcnet_{part}_initializer{end}": _OWN_MODULE
        for part in ("kernel", "bias")
        for end in ("", "_kwargs")
    },
    **{
        f"fusionnet_{name}": _OWN_MODULE
        for name in (
            "hiddens",
            "activation",
            *(f"{p}_initializer{e}" for p in ("kernel", "bias") for e in ("", "_kwargs")),
        )
    },
}


def refuse_unknown_model_keys(ppo: PPOConfig) -> None:
    """Checks that RLlib's own network reads every key of `model_config` that a configuration sets.

    A user's own RLModule or catalog may take any keys.

    Args:
        ppo: Any PPO configuration of the new API stack.

    Raises:
        ConfigError: A key is unknown or isn't read, or its value is invalid; the message says which.
    """
    if not _has_rllibs_network(ppo):
        return
    usual = dataclasses.asdict(DefaultModelConfig())
    given = _given(ppo)
    if getattr(ppo._rl_module_spec, "catalog_class", None) is InitialCatalog:
        refuse_wrong_values(given)
        given = {key: value for key, value in given.items() if key not in initial.KEYS}
    for key, value in given.items():
        where = f"ppo.rl_module.model_config: {key!r}"
        if key in initial.KEYS:
            raise ConfigError(
                f"{where} is read by rllib_ext.with_initial_weights only. Call it with {key} instead."
            )
        if key not in usual:
            raise ConfigError(
                f"{where} is no key of RLlib's own network, which would pass over it."
                f"{nearest(str(key), usual)}"
            )
        if key in UNREAD and value != usual[key]:
            raise ConfigError(
                f"{where} = {value!r}: RLlib's own PPO network passes over it. Instead, {UNREAD[key]}."
            )
        if key.endswith("_hiddens") and not _are_sizes(value):
            raise ConfigError(
                f"{where} = {value!r}; expected the sizes of layers, such as [64, 64], each 1 or more."
            )


def _has_rllibs_network(ppo: PPOConfig) -> bool:
    spec = ppo._rl_module_spec
    if isinstance(spec, MultiRLModuleSpec):
        return False
    module, catalog = getattr(spec, "module_class", None), getattr(spec, "catalog_class", None)
    # A class derived from RLlib's module may read keys of its own.
    rllibs = module is None or module.__module__.startswith(_package(DefaultPPORLModule))
    return rllibs and catalog in (None, InitialCatalog)


def _package(of: type[Any]) -> str:
    return of.__module__.rpartition(".")[0]


def _given(ppo: PPOConfig) -> dict[str, Any]:
    """Returns the configuration's own keys, overridden by those of its RLModule specification."""
    spec = getattr(ppo._rl_module_spec, "model_config", None)
    return {**_as_mapping(ppo._model_config), **_as_mapping(spec)}


def _as_mapping(model_config: Any) -> Mapping[str, Any]:
    if dataclasses.is_dataclass(model_config) and not isinstance(model_config, type):
        return dataclasses.asdict(model_config)
    return model_config if isinstance(model_config, Mapping) else {}


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in value
    )
