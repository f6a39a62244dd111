"""Objectives that only a policy has that can be exported: what they need, before anything trains."""

from __future__ import annotations

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.base.extras import install
from rllib_ext.export.errors import ExportError
from rllib_ext.export.opened import untrained
from rllib_ext.export.source import program_of
from rllib_ext.export.timing import refuse_untimed, timed_form
from rllib_ext.pruning.errors import ConfigError
from search.config.experiment import ExperimentConfig
from search.config.settings import EXPORTED


def refuse_unexportable(config: ExperimentConfig, ppo: PPOConfig) -> None:
    """Looks whether members could be exported, where an objective asks for it.

    Args:
        config: The experiment.
        ppo: What its members share.

    Raises:
        ConfigError: They can't be; the message says why.
    """
    wanted = [name for name in config.search.objectives if name in EXPORTED]
    if not wanted:
        return
    try:
        program_of(untrained(ppo), {})
    except ExportError as error:
        raise ConfigError(
            f"search.objectives: {' and '.join(wanted)} of a policy can only be told where it can be "
            f"exported. {error} Or search for macs or params instead."
        ) from error


def timed_form_of(config: ExperimentConfig, kept: str = "") -> str:
    """The form that a search's latencies are taken in: one and the same from its begin to its end.

    Args:
        config: The experiment.
        kept: What was decided when the search began; "" for a new one.

    Returns:
        "c", or "onnx" where this machine has no compiler; "" where latency is no objective.

    Raises:
        ConfigError: This machine can't time policies, or not in the form that was decided.
    """
    if "latency" not in config.search.objectives:
        return ""
    try:
        refuse_untimed(kept)
    except ExportError as error:
        raise ConfigError(f"search.objectives: latency: {error}") from error
    form = kept or timed_form()
    if not form:
        raise ConfigError(
            "search.objectives: latency is that of the policy in C or in ONNX, and there is neither a C "
            "compiler here (looked for $CC, cc, gcc and clang) nor onnxruntime. Install one, such as "
            f"with `apt install gcc`, or {install('onnx')}; or search for macs instead."
        )
    return form
