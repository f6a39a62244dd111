"""Suggests a configuration, as commented YAML, for an environment known by a few facts.

PPO's batch sizes, epochs and initial learning rates come from shipped configurations: LunarLander's for
discrete actions, Hopper's for continuous actions, MinAtar's for images, StatelessCartPole's for policies
with memory.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping
from typing import Any, Literal

from search.config.reference import in_yaml

# Env steps after which trial episodes, played to measure episode lengths, are cut off.
LONGEST_TRIED = 2_000
# Largest side of an image after the strided layers of a CNN.
_SMALL_IMAGE = 12
FLATTEN = "ray.rllib.connectors.env_to_module:FlattenObservations"


@dataclasses.dataclass(frozen=True)
class Facts:
    """The known facts about an environment.

    Attributes:
        env: A Gymnasium id, or "package.module:Name".
        env_config: Keyword arguments of the environment.
        extras: Extras of prunefront that the environment needs.
        observed: Kind of observation: a vector of floats, an image (height, width, channels), or
            anything else that can be flattened into a vector.
        shape: Shape of an observation; if flattened, its length.
        continuous: Whether actions are continuous; otherwise they are discrete.
        steps: Mean number of env steps in an episode of a random policy.
        limit: Env steps after which an episode ends, or None if the environment declares no limit.
        seen: Description of observations and actions for the reader of the configuration.
    """

    env: str
    env_config: Mapping[str, Any]
    extras: tuple[str, ...]
    observed: Literal["vector", "image", "flattened"]
    shape: tuple[int, ...]
    continuous: bool
    steps: float
    limit: int | None
    seen: str


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Settings for one kind of environment: budget, PPO settings and search ranges.

    Attributes:
        like: Name of the shipped configuration that the settings come from.
        horizon: Env steps of a lineage.
        members: Number of members in the population.
        segments: Number of segments of a lineage.
        envs: Number of environments per env runner.
        batch: Env steps of an iteration.
        minibatch: Env steps of a minibatch.
        epochs: Number of passes over a batch.
        lr: Learning rate; searched from a third of it to three times it.
        line: Whether the learning rate falls linearly to 0 over the horizon.
        entropy: Coefficient of the entropy.
        value: Coefficient of the value function's loss.
        sparsities: Smallest and largest final sparsity.
    """

    like: str
    horizon: int
    members: int
    segments: int
    envs: int
    batch: int
    minibatch: int
    epochs: int
    lr: float
    line: bool
    entropy: float
    value: float
    sparsities: tuple[float, float]


_MEMORY = _Plan(
    "stateless_cartpole.yaml", 400_000, 6, 8, 8, 512, 256, 10, 1e-3, True, 0.0, 0.05, (0.5, 0.99)
)
_IMAGE = _Plan(
    "minatar_breakout.yaml", 1_000_000, 8, 10, 16, 2048, 256, 4, 1e-3, True, 0.01, 0.5, (0.7, 0.998)
)
_CONTINUOUS = _Plan(
    "hopper.yaml", 1_000_000, 8, 20, 8, 2048, 64, 10, 3e-4, True, 0.0, 0.25, (0.5, 0.99)
)
_DISCRETE = _Plan(
    "lunarlander.yaml", 300_000, 16, 15, 16, 2048, 128, 6, 2e-3, False, 0.01, 0.5, (0.8, 0.998)
)


def suggested(facts: Facts, name: str, *, memory: bool = False) -> str:
    """Returns a configuration as commented YAML, which `prunefront check` accepts unchanged.

    Args:
        facts: Facts about the environment.
        name: Name of the experiment.
        memory: Whether the policy gets an LSTM.
    """
    plan = _plan(facts, memory)
    parts = [
        _head(facts, name, plan),
        _budget(plan),
        _ppo(facts, plan, memory),
        _pruning(),
        _search(plan),
        _evaluation(plan),
    ]
    return "\n".join(parts)


def _plan(facts: Facts, memory: bool) -> _Plan:
    if memory:
        return _MEMORY
    if facts.observed == "image":
        return _IMAGE
    plan = _CONTINUOUS if facts.continuous else _DISCRETE
    (size,) = facts.shape
    if facts.continuous and size <= 4:
        return dataclasses.replace(plan, horizon=200_000, segments=10)
    if not facts.continuous and size > 64:
        return dataclasses.replace(plan, horizon=1_000_000, members=8)
    return plan


def _head(facts: Facts, name: str, plan: _Plan) -> str:
    limit = f"its limit is {facts.limit:,}" if facts.limit else "it names no limit"
    if facts.steps >= LONGEST_TRIED:
        length = f"No episode of a random policy ended within {LONGEST_TRIED:,} steps"
        limit += "" if facts.limit else ", so give it one: training needs episodes that end"
    else:
        length = f"Episodes of a random policy have {facts.steps:,.0f} steps on average"
    told = textwrap.fill(
        f"A search on {facts.env}, written by `prunefront init`: {facts.seen}. {length}; {limit}. "
        f"PPO's batches, epochs and first learning rate are those of {plan.like}, which comes along, "
        "gamma and lambda_ the usual ones; nothing was trained with them on "
        "this environment yet. `prunefront keys` says what else can be set.",
        98,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines = [told, f"name: {in_yaml(name)}", f"env: {in_yaml(facts.env)}"]
    if facts.env_config:
        lines.append(f"env_config: {in_yaml(dict(facts.env_config))}")
    lines += ["seed: 0", _noted("engine: auto", "packs of members where that can be")]
    if facts.extras:
        lines.append(f"extras: [{', '.join(facts.extras)}]")
    return "\n".join(lines) + "\n"


def _noted(line: str, note: str) -> str:
    return f"{line.ljust(25)} # {note}"


def _budget(plan: _Plan) -> str:
    lines = [
        "budget:",
        _noted(f"  env_steps: {plan.horizon * plan.members}", "of all members together"),
        _noted(
            f"  horizon: {plan.horizon}", "of one lineage; a dense policy should be good by half"
        ),
        "population:",
        f"  members: {plan.members}",
        f"  segments: {plan.segments}",
    ]
    return "\n".join(lines) + "\n"


def _ppo(facts: Facts, plan: _Plan, memory: bool) -> str:
    lines = ["ppo:"]
    normalized = _normalized(facts)
    if normalized:
        lines += [
            "  preprocess:",
            _noted(
                f"    normalize: {normalized}",
                "rewards for the learner only, returns are as they are",
            ),
        ]
    lines += ["  env_runners:", f"    num_envs_per_env_runner: {plan.envs}"]
    if facts.observed == "flattened":
        lines.append(f"    env_to_module_connector: {FLATTEN}")
    lr = f"{{from: {plan.lr:g}, to: 0}}" if plan.line else f"{plan.lr:g}"
    lines += [
        "  training:",
        f"    train_batch_size_per_learner: {plan.batch}",
        f"    minibatch_size: {plan.minibatch}",
        f"    num_epochs: {plan.epochs}",
        _noted(f"    lr: {lr}", "over the horizon") if plan.line else f"    lr: {lr}",
        _noted("    gamma: 0.99", "looks some 1 / (1 − gamma) steps ahead"),
        "    lambda_: 0.95",
        "    clip_param: 0.2",
        f"    entropy_coeff: {plan.entropy:g}",
        f"    vf_loss_coeff: {plan.value:g}",
        _noted("    vf_clip_param: null", "no clipping, whatever the scale of returns"),
        "    grad_clip: 0.5",
    ]
    if facts.continuous and not memory:
        lines.append("    use_kl_loss: false")
    return "\n".join([*lines, *_network(facts, memory)]) + "\n"


def _normalized(facts: Facts) -> str:
    """Returns the value of `normalize`: with continuous actions, everything that can be normalised."""
    if not facts.continuous:
        return ""
    return "rewards" if facts.observed == "image" else "true"


def _network(facts: Facts, memory: bool) -> list[str]:
    lines = ["  rl_module:", "    model_config:"]
    if facts.observed == "image":
        filters = ", ".join(f"[{', '.join(map(str, layer))}]" for layer in filters_for(facts.shape))
        lines += [
            _noted(f"      conv_filters: [{filters}]", "channels, kernel, stride"),
            "      conv_activation: relu",
            "      head_fcnet_hiddens: [64]",
            "      head_fcnet_activation: relu",
        ]
    else:
        (size,) = facts.shape
        width = 64 if size <= 64 else 128
        lines += [
            f"      fcnet_hiddens: [{width}]"
            if memory
            else f"      fcnet_hiddens: [{width}, {width}]",
            "      fcnet_activation: tanh",
        ]
    if memory:
        return [
            *lines,
            "      use_lstm: true",
            "      lstm_cell_size: 64",
            _noted("      max_seq_len: 50", "as far back as the policy learns to remember"),
            "      vf_share_layers: true",
        ]
    lines.append("      vf_share_layers: false")
    if facts.continuous:
        lines += [
            _noted("      free_log_std: true", "one deviation an action, whatever is observed"),
            "      log_std_init: -0.5",
        ]
    return [*lines, "      ortho_init: true"]


def filters_for(shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Returns channels, kernel size and stride of each layer of a CNN that shrinks an image.

    Args:
        shape: Shape of an image: height, width, channels.
    """
    layers, side, channels = [], max(shape[:2]), 16
    while side > _SMALL_IMAGE:
        stride = 4 if side > 40 else 2
        layers.append((channels, 2 * stride, stride))
        side, channels = math.ceil(side / stride), min(2 * channels, 64)
    return [*layers, (channels, 3, 1)] if len(layers) < 2 else layers


def _pruning() -> str:
    lines = [
        "pruning:",
        "  criterion: magnitude",
        "  scope: global",
        "  schedule: cubic",
        _noted("  begin: 0.2", "shares of the horizon"),
        "  end: 0.8",
    ]
    return "\n".join(lines) + "\n"


def _search(plan: _Plan) -> str:
    low, high = plan.sparsities
    return f"""\
# What the policy that you want must fulfil, if you know it; the search aims at it:
# goal: {{min_retained: 0.95}}  # or {{max_weights: 1000}}, or both
search:
  strategy: pareto_pbt
  space:
    pruning.final_sparsity: {{type: float, low: {low:g}, high: {high:g}, scale: log_density}}
    pruning.end: {{type: float, low: 0.5, high: 1.0, scale: log}}
    training.lr: {{type: float, low: {plan.lr / 3:.1g}, high: {plan.lr * 3:.1g}, scale: log}}
"""


def _evaluation(plan: _Plan) -> str:
    trained = 1 if plan.horizon < 1_000_000 else 0
    return f"""\
# Evaluation isn't given: how often, and over how many episodes, is sized by their length, so that
# it takes a quarter of training's time at most. `prunefront check` says what that comes to, and
# `prunefront keys evaluation` what can be set.
baselines: {{random_masks: {trained}, small_dense: 1, train_then_prune: 1}}
"""
