"""Checks the requirements of objectives that need an exportable policy, before anything trains."""

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
    """Checks that members can be exported if an objective requires it.

    Args:
        config: The experiment.
        ppo: PPO configuration shared by all members.

    Raises:
        ConfigError: The members can't be exported; the message says why.
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
    """Returns the form in which latencies are measured, the same throughout a search.

    Args:
        config: The experiment.
        kept: Form chosen when the search began; empty for a new search.

    Returns:
        "c", or "onnx" if this machine has no compiler; empty if latency isn't an objective.

    Raises:
        ConfigError: This machine can't time policies, or not in the form chosen when the search began.
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
