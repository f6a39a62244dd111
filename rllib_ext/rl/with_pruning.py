"""Adds pruning to a user's PPOConfig."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils import force_list

from rllib_ext.envs.env_maker import for_rllib
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.drawn import possible
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.callback import PruningCallback
from rllib_ext.rl.learner import with_pruning_mixin
from rllib_ext.rl.lost_pruning import PRUNING_KEY, check_on_init
from rllib_ext.rl.settings.classes import refuse_other_than_classes
from rllib_ext.rl.settings.contradictions import refuse_contradictions


def with_pruning(
    ppo_config: PPOConfig, pruning_config: PruningConfig, *, evaluated_outside: bool = False
) -> PPOConfig:
    """Returns a copy of a PPO configuration whose policy is pruned while it trains.

    Callbacks and a Learner class that are already set keep working. Call `with_pruning` last: later
    calls could replace what it added, which is refused when the algorithm is built. An environment class
    that takes keyword arguments gets `env_config` as keywords (see `rllib_ext.envs.env_maker`). Under
    the schedule "plateau", which judges by evaluations, these don't explore.

    For Ray Tune's own searchers and schedulers the copy is a `param_space`: values of the pruning
    configuration may be search spaces, such as `PruningConfig(final_sparsity=tune.uniform(0.5, 0.99))`.
    They are stored in `learner_config_dict["pruning"]` of the copy, where Tune draws them for each
    trial, and where `hyperparam_mutations` of its schedulers find them.

    Args:
        ppo_config: Any PPO configuration of the new API stack with one policy; left unchanged.
        pruning_config: What to prune, how far, and when; its `horizon` must be set.
        evaluated_outside: Whether the caller evaluates the policy itself and passes each return to
            `rllib_ext.rl.callback.hand_over_evaluation`.

    Returns:
        The copy, not frozen.

    Raises:
        ConfigError: The two contradict each other; the message says what to change.
    """
    _refuse_algorithm(ppo_config)
    if not isinstance(pruning_config, PruningConfig):
        raise ConfigError(
            f"with_pruning was given a {type(pruning_config).__name__} to prune by; expected a "
            "PruningConfig, such as PruningConfig(final_sparsity=0.9, horizon=100_000). Of plain values "
            "PruningConfig.from_dict makes one."
        )
    for drawn in possible(pruning_config):
        _refuse(ppo_config, drawn, evaluated_outside)
    config: PPOConfig = ppo_config.copy(copy_frozen=False)
    config.environment(for_rllib(config))
    callbacks = force_list(config.callbacks_class)
    if PruningCallback not in callbacks:
        # First, so that the user's callbacks find the report in the result.
        config.callbacks([PruningCallback, *callbacks])
    functions = force_list(config.callbacks_on_algorithm_init or [])
    if check_on_init not in functions:
        config.callbacks(on_algorithm_init=[*functions, check_on_init])
    config.learners(
        learner_class=with_pruning_mixin(config.learner_class),
        learner_config_dict={**config.learner_config_dict, PRUNING_KEY: pruning_config.to_dict()},
    )
    by_own_evaluations = pruning_config.schedule == "plateau" and not evaluated_outside
    if by_own_evaluations and not isinstance(config.evaluation_config, AlgorithmConfig):
        # RLlib's evaluations draw actions by default, which measures another policy than is kept.
        config.evaluation(evaluation_config={"explore": False})
    return config


def build_algorithm(ppo_config: PPOConfig) -> Algorithm:
    """Builds an algorithm that leaves nothing under the home directory."""
    algorithm = ppo_config.build_algo()
    # RLlib makes an empty folder there for every algorithm it builds.
    with contextlib.suppress(OSError):
        Path(algorithm.logdir).rmdir()
    return algorithm


def _refuse_algorithm(ppo: PPOConfig) -> None:
    if not isinstance(ppo, PPOConfig):
        name = ppo.__name__ if isinstance(ppo, type) else f"a {type(ppo).__name__}"
        raise ConfigError(
            f"with_pruning was given {name}; expected a PPOConfig, such as "
            "PPOConfig().environment('CartPole-v1'). Other algorithms are not supported."
        )
    if not (ppo.enable_rl_module_and_learner and ppo.enable_env_runner_and_connector_v2):
        raise ConfigError(
            "with_pruning was given a config of RLlib's old API stack; expected the new one. Remove "
            "api_stack(enable_rl_module_and_learner=False, ...) from it."
        )
    if ppo.is_multi_agent and len(ppo.policies) == 1:
        raise ConfigError(
            f"with_pruning was given a config whose policy is named {next(iter(ppo.policies))!r}, which "
            f"RLlib takes for a multi-agent one; expected {DEFAULT_MODULE_ID!r}, the name of a single "
            "agent's. Leave multi_agent(policies=...) out; environments of several agents are not "
            "supported."
        )
    if ppo.is_multi_agent:
        raise ConfigError(
            "with_pruning was given a multi-agent config; expected one policy. Train and prune each "
            "policy by itself."
        )
    refuse_other_than_classes(ppo)


def _refuse(ppo: PPOConfig, pruning: PruningConfig, evaluated_outside: bool) -> None:
    if ppo.evaluation_interval and ppo.evaluation_parallel_to_training:
        raise ConfigError(
            "evaluation_parallel_to_training=True evaluates the weights from before the update, so a "
            "sparsity would be booked with another network's return. Set it to False."
        )
    taken = evaluated_outside or pruning.schedule == "plateau" or pruning.rewind_to is not None
    if taken and ppo.num_env_runners and not ppo.create_local_env_runner:
        raise ConfigError(
            "create_local_env_runner=False leaves the algorithm no EnvRunner in its own process, of "
            "which the policy is taken with what its filters have seen, to be evaluated and to be "
            "brought back. Set it to True, RLlib's default."
        )
    evaluated = evaluated_outside or ppo.evaluation_interval
    if pruning.schedule == "plateau" and not evaluated:
        raise ConfigError(
            "schedule='plateau' raises sparsity while the evaluated return holds, but the config has "
            "no evaluation. Add .evaluation(evaluation_interval=1, ...)."
        )
    if pruning.schedule == "plateau" and not evaluated_outside and _explores(ppo):
        raise ConfigError(
            "schedule='plateau' judges the policy by evaluations, but evaluation_config has "
            "explore=True: actions are drawn, and a lucky draw would count as a return that holds. "
            "Remove it, or set .evaluation(evaluation_config={'explore': False})."
        )
    refuse_contradictions(ppo, pruning)


def _explores(ppo: PPOConfig) -> bool:
    """Whether the user has asked for evaluations with drawn actions."""
    given = ppo.evaluation_config
    if isinstance(given, AlgorithmConfig):
        return bool(given.explore)
    return bool((given or {}).get("explore", False))
