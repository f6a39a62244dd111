"""Chooses the weights to prune and to regrow: configuration, weights and statistics to masks. Pure."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping

import numpy as np
from torch import Tensor

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.criteria import READS, Scores, StatisticKind, Statistics
from rllib_ext.pruning.masks import Cuts, Masks, count_for
from rllib_ext.pruning.schedule.decide import PruneTarget
from rllib_ext.pruning.scope import PrunableWeights
from rllib_ext.pruning.structure.groups import Structure
from rllib_ext.pruning.structure.liveness import Liveness
from rllib_ext.pruning.structure.paths import Paths
from rllib_ext.pruning.structure.structured import prune_groups
from rllib_ext.pruning.training.at_work import AtWork
from rllib_ext.pruning.training.in_rounds import scored_in_rounds
from rllib_ext.pruning.training.ranking import comparable
from rllib_ext.pruning.training.regrow import exchange, gradient_growth, random_growth


def kinds_for(config: PruningConfig) -> list[StatisticKind]:
    """Returns the statistics that must be gathered in training for a configuration."""
    return [*read_by_criterion(config), *read_by_regrowth(config)]


def read_by_criterion(config: PruningConfig) -> list[StatisticKind]:
    """Returns the statistics that a configuration's criterion needs to rank weights."""
    return [READS[config.criterion]] if config.criterion in READS else []


def read_by_regrowth(config: PruningConfig) -> list[StatisticKind]:
    """Returns the statistics that a configuration's regrowth needs to choose weights."""
    return ["mean_gradient"] if config.regrow == "rigl" else []


def statistics_for(
    config: PruningConfig,
    seed: int,
    values: Callable[[StatisticKind], dict[str, Tensor]],
    at_rest: Mapping[str, str] | None = None,
) -> Statistics:
    """Returns the statistics that the configuration's criterion reads.

    Args:
        config: Criterion and measured damage.
        seed: Fixes what the criterion "random" draws.
        values: Gives what was gathered of a kind.
        at_rest: Weights that don't train, each with the reason.
    """
    gathered = {kind: values(kind) for kind in read_by_criterion(config)}
    damage = dict(config.damage)
    return Statistics(seed=seed, damage=damage, at_rest=at_rest or {}, **gathered)


def config_for_next_masks(
    config: PruningConfig, masks: Mapping[str, Tensor], *, trained: bool
) -> PruningConfig:
    """The configuration with the criterion that the next masks are chosen by.

    It is the configured one, but for the first masks of a fresh network that regrows, which are drawn.
    Where somebody trained the network before – a clone's donor, or a checkpoint that it begins from –
    what goes is chosen, even if nothing went before.

    Args:
        config: The pruning configuration.
        masks: The masks so far.
        trained: Whether the network was trained before this schedule began.
    """
    if config.regrow is None or trained:
        return config
    dense = all(bool(mask.all()) for mask in masks.values())
    return config.replace(criterion="random") if dense else config


def masks_for(
    config: PruningConfig,
    structure: Structure | None,
    weights: PrunableWeights,
    masks: Mapping[str, Tensor],
    statistics: Statistics,
    extent: PruneTarget,
    liveness: Liveness | None = None,
    paths: Paths | None = None,
) -> Masks:
    """Returns masks that prune the policy path and the critic to the extent asked for.

    A threshold speaks of the policy path; the critic follows its own target only.

    Args:
        config: Criterion, granularity, scope and unit of the threshold.
        structure: The groups of a granularity coarser than "weight"; None: single weights go.
        weights: All prunable weights.
        masks: Their masks so far.
        statistics: Statistics that the criterion reads.
        extent: Extent to prune to.
        liveness: Finds live weights if sparsities count those; None means that all weights count.
        paths: Sums the remaining paths if the criterion reads them; None takes those of `statistics`.

    Returns:
        New masks, subsets of `masks`, of all weights; dead ones are among them.

    Raises:
        ScoreError: The weights cannot be ranked.
    """
    if structure is not None:
        statistics = _with_paths(statistics, paths, masks)
        return groups_pruned_to(config, structure, weights, masks, statistics, extent)
    pruned: Masks = dict(masks)
    for among, sparsity, threshold in (
        (weights.policy, extent.sparsity, extent.threshold),
        (weights.critic, extent.critic_sparsity, None),
    ):
        at_work = None if liveness is None else AtWork(liveness, pruned)
        pruned |= pruned_to(
            config,
            among,
            masks,
            statistics,
            sparsity=sparsity,
            threshold=threshold,
            at_work=at_work,
            anew=None if paths is None else functools.partial(_left, statistics, paths, pruned),
        )
    return pruned


def _with_paths(
    statistics: Statistics, paths: Paths | None, masks: Mapping[str, Tensor]
) -> Statistics:
    return (
        statistics if paths is None else dataclasses.replace(statistics, paths=paths.through(masks))
    )


def _left(statistics: Statistics, paths: Paths, masks: Masks, left: Masks) -> Statistics:
    return _with_paths(statistics, paths, {**masks, **left})


def pruned_to(
    config: PruningConfig,
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    statistics: Statistics,
    *,
    sparsity: float | None,
    threshold: float | None,
    at_work: AtWork | None = None,
    anew: Callable[[Masks], Statistics] | None = None,
) -> Masks:
    """Returns masks that prune competing weights to the extent asked for.

    Args:
        config: Criterion, scope and unit of the threshold.
        weights: The weights that compete.
        masks: Their masks so far.
        statistics: Statistics that the criterion reads.
        sparsity: Share of the weights that is to be pruned; None: the threshold alone says.
        threshold: Prune where score < threshold; None, or 0: no threshold, or nothing below it.
        at_work: Counts live weights if the sparsity is of those; None means that all weights count.
        anew: Recomputes the statistics for the remaining weights if they change as weights are pruned;
            None means that `statistics` holds throughout.

    Returns:
        New masks, subsets of `masks`.

    Raises:
        ScoreError: The weights cannot be ranked.
    """
    count = None if sparsity is None else count_for(sparsity, weights)
    nothing = count == 0 or threshold == 0.0 or (count is None and threshold is None)
    if not weights or nothing:
        return {name: masks[name].clone() for name in weights}
    kept = {name: masks[name] for name in weights}
    if count is not None and count <= sum(int((~mask).sum()) for mask in kept.values()):
        return {name: mask.clone() for name, mask in kept.items()}

    def score(left: Masks) -> Scores:
        return comparable(
            config.criterion,
            weights,
            left,
            statistics if anew is None else anew(left),
            pools=[left],
            deviations=threshold is not None and config.threshold_unit == "std",
        )

    if anew is None or count is None or threshold is not None:
        scores = score(kept)
    else:
        scores = scored_in_rounds(score, kept, scope=config.scope, count=count)
    cuts = Cuts(scores, kept, scope=config.scope, threshold=threshold)
    if at_work is None:
        return cuts.at(count)
    most = cuts.size if count is None else max(count, cuts.already)
    wanted = 0 if count is None else cuts.size - count
    return at_work.pruned(cuts.at, scores, (cuts.already, most), wanted)


def groups_pruned_to(
    config: PruningConfig,
    structure: Structure,
    weights: PrunableWeights,
    masks: Mapping[str, Tensor],
    statistics: Statistics,
    extent: PruneTarget,
) -> Masks:
    """Masks that prune groups on the policy path, then in the critic: see `masks_for`."""
    scored: dict[str, Tensor] = {**weights.policy, **weights.critic}
    if config.criterion == "sensitivity":
        # Only the policy path need be measured: groups then go by what they hold of it.
        scored = {n: w for n, w in scored.items() if n in weights.policy or n in statistics.damage}
    scores = comparable(
        config.criterion,
        scored,
        masks,
        statistics,
        pools=[weights.policy, weights.critic],
        deviations=config.threshold_unit == "std" and extent.threshold is not None,
    )
    pruned: Masks = {name: mask.clone() for name, mask in masks.items()}
    for among, sparsity, threshold in (
        (weights.policy, extent.sparsity, extent.threshold),
        (weights.critic, extent.critic_sparsity, None),
    ):
        # A threshold of 0 asks for nothing, although scores of movement can lie below it.
        if sparsity == 0.0 or threshold == 0.0 or (sparsity is None and threshold is None):
            continue
        pruned = prune_groups(
            structure,
            scores,
            pruned,
            scope=config.scope,
            among=among,
            sparsity=sparsity,
            threshold=threshold,
        )
    return pruned


def exchanged(
    config: PruningConfig,
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
    *,
    share: float,
    seed: tuple[int, int],
    resting: Collection[str] = (),
    at_work: AtWork | None = None,
) -> Masks:
    """Returns masks with the same counts in which weak weights are replaced by others.

    Args:
        config: "set" or "rigl".
        weights: Weights by layer.
        masks: Masks by the same names.
        gradients: Mean gradients by the same names; "set" doesn't read them.
        share: Share of the kept weights that is exchanged.
        seed: Seed numbers for the draws of "set"; the same after a restore.
        resting: Layers that keep what they have, as where they don't train: what came in would stay at
            zero.
        at_work: Lets weights grow only where they connect; None: everywhere.
    """
    trained = {name: weight for name, weight in weights.items() if name not in resting}
    if config.regrow == "rigl":
        growth = gradient_growth(gradients)
    else:
        growth = random_growth(trained, int(np.random.SeedSequence(seed).generate_state(1)[0]))
    exchanging = {name: masks[name] for name in trained}
    unchanged = {name: mask.clone() for name, mask in masks.items() if name not in trained}
    exchange_ = exchange if at_work is None else at_work.exchanged
    return {**unchanged, **exchange_(trained, exchanging, growth, share)}
