"""Refuses settings that RLlib accepts but that its new API stack never reads.

RLlib's config methods still have the arguments of the old stack (`AlgorithmConfig.env_runners`,
`environment` and `training` in ray/rllib/algorithms/algorithm_config.py mark most of them
"@OldAPIStack"), store what they are given, and give no warning. Which of them are read is found in Ray's
source: tests/rllib_ext/test_ignored.py looks for every argument in the modules of the new stack.
"""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.pruning.errors import ConfigError

_ADDED = (
    "ppo.env_runners.env_to_module_connector={{class: 'ray.rllib.connectors.env_to_module:{0}'}}, or in "
    "Python a function that returns one"
)
_LEFT_OUT = "nothing replaces it: leave it out"
_VECTORIZE = (
    "environments step in processes of their own with env_runners(gym_env_vectorize_mode='async')"
)
_ATARI = (
    "in the new stack wrappers prepare Atari: an environment of your own that applies "
    "ray.rllib.env.wrappers.atari_wrappers.wrap_atari_for_new_api_stack"
)

# Replacements in the new stack, by the ignored method and argument of `PPOConfig`.
IGNORED: dict[tuple[str, str], str] = {
    ("environment", "render_env"): (
        "a callback renders: ray/rllib/examples/envs/env_rendering_and_recording.py shows it"
    ),
    ("environment", "clip_rewards"): (
        "set ppo.preprocess.clip_reward, or in Python rllib_ext.with_preprocessing(…, clip_reward=…)"
    ),
    ("environment", "is_atari"): _ATARI,
    ("environment", "action_mask_key"): (
        "an RLModule of your own masks actions: "
        "ray/rllib/examples/rl_modules/action_masking_rl_module.py shows it"
    ),
    ("env_runners", "observation_filter"): (
        "set ppo.preprocess.normalize: observations, or in Python rllib_ext.with_preprocessing(…, "
        "normalize='observations'), which adds RLlib's MeanStdFilter"
    ),
    ("env_runners", "preprocessor_pref"): (
        "connectors prepare observations, such as one that flattens them and encodes discrete ones: "
        f"{_ADDED.format('FlattenObservations')}"
    ),
    ("env_runners", "use_worker_filter_stats"): "use env_runners(merge_env_runner_states=…)",
    ("env_runners", "update_worker_filter_stats"): "use env_runners(broadcast_env_runner_states=…)",
    ("env_runners", "sample_collector"): (
        "connectors build the train batch: learners(learner_connector=…)"
    ),
    ("env_runners", "exploration_config"): (
        "an RLModule of your own explores, in its _forward_exploration"
    ),
    ("env_runners", "remote_worker_envs"): _VECTORIZE,
    ("env_runners", "remote_env_batch_wait_ms"): _VECTORIZE,
    ("env_runners", "compress_observations"): _LEFT_OUT,
    ("env_runners", "enable_tf1_exec_eagerly"): _LEFT_OUT,
    ("env_runners", "sampler_perf_stats_ema_coef"): _LEFT_OUT,
    ("env_runners", "enable_connectors"): "connectors are always there: leave it out",
    ("training", "use_gae"): (
        "advantages are always GAE's, of which lambda_=1.0 makes plain returns: leave it out"
    ),
    ("training", "lr_schedule"): (
        "use training(lr=[[0, first], [env_steps, last]]), or in YAML lr: {from: first, to: last}"
    ),
    ("training", "entropy_coeff_schedule"): (
        "use training(entropy_coeff=[[0, first], [env_steps, last]]), or in YAML entropy_coeff: "
        "{from: first, to: last}"
    ),
    ("training", "model"): "use rl_module(model_config={…})",
    ("training", "vf_share_layers"): "use rl_module(model_config={'vf_share_layers': …})",
    ("training", "optimizer"): (
        "a Learner class of your own chooses the optimizer, in configure_optimizers_for_module"
    ),
}
# Arguments that no attribute of a configuration shows: not stored, or set by RLlib itself too.
NOT_STORED = frozenset({"is_atari", "enable_connectors", "vf_share_layers"})


def refuse_ignored(ppo: PPOConfig) -> None:
    """Checks that a configuration sets nothing that the new API stack ignores.

    Args:
        ppo: Any PPO configuration of the new API stack.

    Raises:
        ConfigError: A setting is ignored; the message says what to use instead.
    """
    usual = PPOConfig()
    for (method, name), instead in IGNORED.items():
        if name in NOT_STORED:
            continue
        given = getattr(ppo, name)
        if given != getattr(usual, name):
            raise ignored(method, name, given, instead)


def refuse_ignored_argument(method: str, name: str, value: Any) -> None:
    """Checks that an argument isn't one that RLlib ignores without storing it.

    Raises:
        ConfigError: The argument is ignored; the message says what to use instead.
    """
    if name in NOT_STORED and (method, name) in IGNORED and value is not None:
        raise ignored(method, name, value, IGNORED[method, name])


def ignored(method: str, name: str, value: Any, instead: str) -> ConfigError:
    """Returns the error for an argument that would be ignored."""
    return ConfigError(
        f"ppo.{method}.{name} = {value!r}: RLlib's new API stack ignores it, whoever trains. Instead, "
        f"{instead}."
    )
