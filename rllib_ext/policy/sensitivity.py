"""Measures how much a policy suffers when one of its layers is pruned."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import tree
from ray.rllib.core.columns import Columns
from torch import Tensor, nn

from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.policy.acting import ConnectorPolicy, DirectPolicy
from rllib_ext.pruning.criteria import score
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.masks import apply_masks_, count_for, full_masks, prune
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.pruning.sensitivity_table import Measurement, SensitivityTable, ordered
from rllib_ext.rl.module.critic import critic_names

# Sparsities that are measured unless others are given: closer together where curves bend.
SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98, 1.0)

# Batches of observations on which divergences are averaged, spread evenly over the episodes.
MOST_BATCHES = 256


def measure_sensitivity(
    policy: ConnectorPolicy | DirectPolicy,
    evaluator: Evaluator,
    seeds: Iterable[int],
    *,
    sparsities: Sequence[float] = SPARSITIES,
    exclude: Iterable[str] = (),
    returns: bool = True,
) -> SensitivityTable:
    """Prunes one layer at a time by magnitude and looks at returns and action distributions.

    Args:
        policy: Policy from `rllib_ext.policy_of` or `rllib_ext.load_policy`; left unchanged.
        evaluator: Runs the episodes.
        seeds: One episode each; the policy as it is plays them in any case, for observations.
        sparsities: Levels to try at the layer, in (0, 1].
        exclude: Shell patterns over parameter names; what matches is not measured.
        returns: Whether each pruned policy plays the episodes too: layers × sparsities times as many.
            Without, only the divergence is measured.

    Returns:
        The table; weights that are zero already count towards a layer's sparsity.

    Raises:
        ConfigError: A sparsity is out of range, or a pattern matches no parameter.
    """
    check_sparsities(sparsities)
    seeds = tuple(seeds)
    # A copy, so that an error or a reader in between never meets a pruned layer.
    policy = copy.deepcopy(policy)
    module: Any = policy.module
    batches, dense = _observed(policy, evaluator, seeds)
    distribution = module.get_inference_action_dist_cls()
    before = [distribution.from_logits(logits) for logits in _logits(module, batches)]
    weights = prunable_weights(module, critic_names(module), exclude).policy
    measured: list[Measurement] = []
    for layer, weight in weights.items():
        for sparsity in sparsities:
            with _pruned(layer, weight, sparsity):
                after = [distribution.from_logits(logits) for logits in _logits(module, batches)]
                episodes = evaluator.run(policy, seeds) if returns else None
            divergences = [b.kl(a).flatten() for b, a in zip(before, after, strict=True)]
            measured.append(
                Measurement(
                    layer=layer,
                    sparsity=sparsity,
                    return_mean=float("nan") if episodes is None else episodes.mean,
                    return_std=float("nan") if episodes is None else episodes.std,
                    # Rounding can leave a divergence of equal distributions just below 0.
                    kl=max(0.0, float(torch.cat(divergences).mean())),
                )
            )
    return SensitivityTable(
        return_mean=dense.mean,
        return_std=dense.std,
        episodes=dense.count if returns else 0,
        measurements=ordered(measured),
    )


def check_sparsities(sparsities: Iterable[float]) -> None:
    """Refuses what no layer can be pruned to.

    Raises:
        ConfigError: A sparsity is out of range.
    """
    for sparsity in sparsities:
        if not 0.0 < sparsity <= 1.0:
            raise ConfigError(f"sensitivity: sparsity = {sparsity}; expected a number in (0, 1].")


def _observed(
    policy: ConnectorPolicy | DirectPolicy, evaluator: Evaluator, seeds: tuple[int, ...]
) -> tuple[list[dict[str, Any]], Any]:
    """Returns the module's inputs while it played, recurrent states included, and the episodes."""
    module: Any = policy.module
    batches: list[dict[str, Any]] = []
    forward = module.forward_inference

    def recording(batch: dict[str, Any], **kwargs: Any) -> Any:
        batches.append(_apart(batch))
        return forward(batch, **kwargs)

    module.forward_inference = recording
    try:
        episodes = evaluator.run(policy, seeds)
    finally:
        del module.forward_inference
    every = max(1, len(batches) // MOST_BATCHES)
    return batches[::every], episodes


def _logits(module: Any, batches: Sequence[dict[str, Any]]) -> list[Tensor]:
    with torch.no_grad():
        return [
            module.forward_inference(_apart(batch))[Columns.ACTION_DIST_INPUTS] for batch in batches
        ]


def _apart(batch: dict[str, Any]) -> dict[str, Any]:
    """The same tensors in a structure of their own: a module may take its batch to pieces."""
    copied: dict[str, Any] = tree.map_structure(lambda tensor: tensor, batch)
    return copied


@contextmanager
def _pruned(layer: str, weight: nn.Parameter, sparsity: float) -> Iterator[None]:
    saved = weight.detach().clone()
    weights = {layer: weight}
    scores = score("magnitude", weights)
    count = count_for(sparsity, weights)
    apply_masks_(weights, prune(scores, full_masks(weights), scope="global", count=count))
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(saved)
