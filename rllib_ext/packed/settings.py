"""The settings of a PPO configuration that packs support; all others must keep their defaults.

Settings that are not listed here are refused as soon as they differ from RLlib's defaults: whatever Ray
adds, or a user sets, is then not left out silently.
"""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_ext.packed.hyperparameters import OWN
from rllib_ext.packed.vectorize import VECTORIZE
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.preprocess.preprocess import RewardConnectors

# By the names of PPOConfig's attributes.
READ = frozenset(
    (
        *OWN,
        "grad_clip_by",
        "use_critic",
        "use_gae",
        "train_batch_size",
        "_train_batch_size_per_learner",
        "minibatch_size",
        "env",
        "env_config",
        "num_envs_per_env_runner",
        "gym_env_vectorize_mode",
        "normalize_actions",
        "clip_actions",
        "_env_to_module_connector",
        "_learner_connector",
        "_model_config",
        "_rl_module_spec",
        "num_gpus_per_learner",
        "policies",
    )
)
# Of processes that a pack doesn't have, of logs, or of what the environment and the segment say.
ELSEWHERE = frozenset(
    (
        "num_cpus_for_main_process",
        "num_cpus_per_learner",
        "max_requests_in_flight_per_learner",
        "num_cpus_per_env_runner",
        "num_gpus_per_env_runner",
        "custom_resources_per_env_runner",
        "max_requests_in_flight_per_env_runner",
        "validate_env_runners_after_construction",
        "sample_timeout_s",
        "env_runner_health_probe_timeout_s",
        "env_runner_restore_timeout_s",
        "ignore_env_runner_failures",
        "restart_failed_env_runners",
        "max_num_env_runner_restarts",
        "delay_between_env_runner_restarts_s",
        "num_consecutive_env_runner_failures_tolerance",
        "disable_env_checking",
        "observation_space",
        "action_space",
        "seed",
        "log_level",
        "log_sys_usage",
        # What RLlib notes when it validates, freezes or copies a configuration.
        "_is_atari",
        "_is_frozen",
        "_validate_config",
        "simple_optimizer",
    )
)
# The first is what a pack expects, where that isn't RLlib's default alone.
_TAKEN: dict[str, tuple[Any, ...]] = {
    "num_env_runners": (0,),
    "_learner_class": (None, PPOTorchLearner),
    "callbacks_class": (RLlibCallback, None, []),
}


def refuse_unpackable(ppo: PPOConfig) -> None:
    """Refuses what a pack would leave out silently, and batches that are not cut into minibatches.

    Args:
        ppo: Any PPO configuration.

    Raises:
        ConfigError: A setting that a pack doesn't know is set, or `minibatch_size` isn't.
    """
    if not isinstance(ppo, PPOConfig) or ppo.is_multi_agent:
        raise _refusal("algorithm", type(ppo).__name__, "a PPOConfig with one policy")
    usual = vars(PPOConfig())
    for name, value in vars(ppo).items():
        if name in READ or name in ELSEWHERE or name == VECTORIZE:
            continue
        taken = _TAKEN.get(name, (usual.get(name),))
        if not any(_equal(value, each) for each in taken):
            raise _refusal(name.lstrip("_"), value, taken[0])
    connectors = ppo._learner_connector
    scales = isinstance(connectors, RewardConnectors) and connectors.before is None
    if connectors is not None and not scales:
        raise _refusal("learner_connector", connectors, "normalize or clip_reward alone")
    weights = getattr(ppo._rl_module_spec, "load_state_path", None)
    if weights is not None:
        raise _refusal("rl_module_spec.load_state_path", weights, None)
    if not ppo.minibatch_size:
        # RLlib counts its bootstrap rows (rllib_ext.packed.minibatch_order) as part of a whole batch.
        raise ConfigError(
            f"minibatch_size = {ppo.minibatch_size!r}: RLlib then learns from whole batches, whose "
            "lengths differ from member to member with the ends of episodes in them, so that members "
            "cannot be packed; expected a number of steps. Give one, or use the rllib engine."
        )


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except (TypeError, ValueError, AttributeError):
        # Anybody's objects, such as arrays, need not say whether they are equal.
        return False


def _refusal(name: str, given: object, expected: object) -> ConfigError:
    return ConfigError(
        f"{name} = {given!r}: members with it cannot be packed; expected {expected!r}. Leave it out, or "
        "use the rllib engine."
    )
