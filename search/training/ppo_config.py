"""Builds and checks the PPO configuration of an experiment's members, and their resource request."""

from __future__ import annotations

import dataclasses
import logging
import re
from typing import Any

import gymnasium
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.tune import PlacementGroupFactory

from rllib_ext import with_initial_weights, with_preprocessing, with_pruning
from rllib_ext.envs.missing import missing_hint
from rllib_ext.envs.shifted import shifted_maker
from rllib_ext.envs.unread import build_once
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.module.initial import KEYS as INITIAL_WEIGHTS
from rllib_ext.rl.prunable import refuse_unprunable
from rllib_ext.rl.settings.ignored import refuse_ignored_argument
from search.cluster.own_packages import refuse_hidden
from search.config.experiment import ExperimentConfig
from search.training.own_code import import_from_here, imported, with_own_code
from search.training.ppo_values import misspelt, refuse_meaningless


def build_ppo(config: ExperimentConfig) -> PPOConfig:
    """Returns the PPO configuration that all members start from.

    Raises:
        ConfigError: RLlib or Gymnasium rejects something in it.
    """
    if config.from_python:
        raise ConfigError(
            "from_python = true: the members of that search are those of a PPOConfig that its results "
            "folder keeps. Use `prunefront resume`, or search.run with a PPOConfig."
        )
    quieten_rllib()
    ppo = PPOConfig()
    ppo.environment(environment(config.env), env_config=dict(config.env_config))
    # A member is one process, whereas RLlib's defaults are meant for a cluster.
    ppo.env_runners(num_env_runners=0)
    ppo.resources(num_cpus_for_main_process=config.resources.cpus_per_member)
    ppo.learners(
        num_cpus_per_learner=config.resources.cpus_per_member,
        num_gpus_per_learner=config.resources.gpus_per_member,
    )
    for method, given in config.ppo.methods(config.horizon).items():
        for name, value in given.items():
            refuse_ignored_argument(method, name, value)
        arguments = with_own_code(method, given)
        try:
            getattr(ppo, method)(**arguments)
        except (TypeError, ValueError, AttributeError) as error:
            hint = misspelt(method, arguments)
            raise ConfigError(f"ppo.{method}: RLlib refuses it: {error}.{hint}") from error
    if (ppo.num_learners or 0) > 1 and "num_gpus_per_learner" not in config.ppo.learners:
        ppo.learners(num_gpus_per_learner=config.resources.gpus_per_member / ppo.num_learners)
    ppo = with_preprocessing(ppo, **config.ppo.preprocess.model_dump())
    if set(INITIAL_WEIGHTS) & set(ppo._model_config):
        weights = {
            key: ppo._model_config[key] for key in INITIAL_WEIGHTS if key in ppo._model_config
        }
        ppo = with_initial_weights(ppo, **weights)
    refuse_wrong_ppo(ppo, config)
    return ppo


def refuse_wrong_ppo(ppo: PPOConfig, config: ExperimentConfig) -> None:
    """Checks the shared PPO configuration and the bounds of the search space with Gymnasium and RLlib.

    Args:
        ppo: PPO configuration shared by all members.
        config: The experiment.

    Raises:
        ConfigError: Gymnasium or RLlib rejects a setting.
    """
    refuse_meaningless(ppo)
    _check(ppo, config)
    _check_shifts(ppo, config)
    _check_searched(ppo, config)


def refuse_unprunable_members(config: ExperimentConfig, ppo: PPOConfig) -> None:
    """Checks that the members' network can be pruned as configured and at the search space's bounds.

    Args:
        config: The experiment.
        ppo: PPO configuration shared by all members.

    Raises:
        ConfigError: RLlib can't build the network, or it can't be pruned so; the message says why.
    """
    ends = [
        {path: value}
        for path, parameter in config.search.space.items()
        for value in parameter.extremes
        if path.startswith("pruning.")
    ]
    refuse_unprunable(ppo, [config.pruning_with(config.space.clip(v)) for v in ({}, *ends)])


def quieten_rllib() -> None:
    """Silences RLlib below errors, because it logs a paragraph about its API in every process."""
    for name in ("ray", "ray.rllib"):
        logging.getLogger(name).setLevel(logging.ERROR)


def member_resources(ppo: PPOConfig) -> PlacementGroupFactory:
    """Returns the cluster resources that a member needs while it trains."""
    return PPO.default_resource_request(ppo)


def environment(name: str) -> Any:
    """Returns a Gymnasium id unchanged, or imports and returns what "package.module:Name" names.

    Modules in the working directory can be imported, too.

    Raises:
        ConfigError: The environment cannot be imported.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        return name
    import_from_here()
    refuse_hidden(module, f"env = {name!r}")
    # Gymnasium itself reads "module:Id-v0" as an id that importing the module registers.
    return (
        name
        if re.search(r"-v\d+$", attribute)
        else imported(name, "env", "an environment's class or function, or a Gymnasium id")
    )


def _check_shifts(ppo: PPOConfig, config: ExperimentConfig) -> None:
    """Checks the evaluation's shifts, as a wrong one would otherwise fail only after the search."""
    for shift in config.evaluation.shifts:
        try:
            # Noise in standard deviations needs the dense policy, which isn't trained yet.
            shifted_maker(ppo, dataclasses.replace(shift, noise_unit="absolute"))
        except ConfigError as error:
            raise ConfigError(f"evaluation.shifts: {error}") from error


def _check(ppo: PPOConfig, config: ExperimentConfig) -> None:
    try:
        build_once(ppo)
    except ConfigError as error:
        raise ConfigError(f"env = {config.env!r}: {error}") from error
    except gymnasium.error.Error as error:
        raise ConfigError(
            f"env = {config.env!r}: {error}{missing_hint(config.env, error)} Expected a Gymnasium id or "
            f"'package.module:Class'.{_with_a_colon(config.env)}"
        ) from error
    except Exception as error:
        # An environment is user code and may raise anything.
        raise ConfigError(
            f"env = {config.env!r} cannot be built with env_config = {config.env_config}: "
            f"{type(error).__name__}: {error}{missing_hint(config.env, error)}"
        ) from error
    try:
        pruned = with_pruning(ppo, config.pruning_with({}), evaluated_outside=True)
        pruned.validate()
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            str(error) if isinstance(error, ConfigError) else f"ppo: {error}"
        ) from error


def _with_a_colon(name: str) -> str:
    """Returns a hint for a class path that is written with dots only; otherwise an empty string."""
    module, _, attribute = name.rpartition(".")
    dotted = ":" not in name and re.fullmatch(r"[\w.]+", module) and attribute[:1].isupper()
    return f" Did you mean {f'{module}:{attribute}'!r}?" if dotted else ""


def _check_searched(ppo: PPOConfig, config: ExperimentConfig) -> None:
    """Checks the bounds of all searched training hyperparameters with RLlib before anything trains."""
    for path, parameter in config.search.space.items():
        for value in parameter.extremes:
            arguments = config.training_with({path: value})
            for name in arguments:
                refuse_ignored_argument("training", name, value)
            try:
                tried = ppo.copy(copy_frozen=False).training(**arguments)
                refuse_meaningless(tried, "search.space: training")
                tried.validate()
            except ConfigError:
                raise
            except (TypeError, ValueError, AttributeError) as error:
                hint = misspelt("training", arguments)
                raise ConfigError(
                    f"search.space: RLlib refuses {path} = {value!r}: {error}.{hint}"
                ) from error
