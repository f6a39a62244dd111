"""The masks that come next in one network's training, the same on all processes that train it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.criteria import StatisticKind
from rllib_ext.pruning.masks import Masks, full_masks
from rllib_ext.pruning.schedule.decide import PruneTarget
from rllib_ext.pruning.scope import PrunableWeights
from rllib_ext.pruning.structure.groups import Structure
from rllib_ext.pruning.structure.liveness import Liveness
from rllib_ext.pruning.structure.paths import Paths
from rllib_ext.pruning.training.agreement import Agreement
from rllib_ext.pruning.training.at_work import AtWork
from rllib_ext.pruning.training.choose import exchanged, masks_for, statistics_for
from rllib_ext.pruning.training.optimizer import OptimizerLike
from rllib_ext.pruning.training.ranking import at_rest, unscored, warn_of_unscored
from rllib_ext.pruning.training.starts import first_masks
from rllib_ext.pruning.training.statistics import Gatherer


class NextMasks:
    """Chooses the weights that are pruned and regrown next.

    Args:
        weights: All prunable weights.
        structure: The groups of a granularity coarser than "weight"; None: single weights.
        gatherer: Has what was seen of the weights in training.
        optimizers: Returns the optimizers of the network's parameters.
        seed: For criteria and regrowth that draw.
        agreement: Agreement between the processes that train the network together.
        liveness: Finds live weights if sparsities count those; None means that all weights count.
        paths: Follows the network's paths, for the criterion "synflow"; None: it isn't asked for.

    Attributes:
        by_magnitude: Layers that were last pruned by magnitude since they don't train, with the reason.
    """

    def __init__(
        self,
        weights: PrunableWeights,
        structure: Structure | None,
        gatherer: Gatherer,
        optimizers: Callable[[], Sequence[OptimizerLike]],
        seed: int,
        agreement: Agreement,
        liveness: Liveness | None = None,
        paths: Paths | None = None,
    ) -> None:
        self.by_magnitude: dict[str, str] = {}
        self.seed = seed
        self.agreement = agreement
        self._weights = weights
        self._all = {**weights.policy, **weights.critic}
        self._structure = structure
        self._gatherer = gatherer
        self._optimizers = optimizers
        self._liveness = liveness
        self._paths = paths

    def knows(self, kinds: Iterable[StatisticKind]) -> bool:
        """Whether something of every one of these kinds has been seen."""
        return self.agreement.on(self._gatherer.has(kinds))

    def first(self, config: PruningConfig, units: Structure | None) -> Masks:
        """The masks that a fresh network starts with: see `starts.first_masks`."""

        def choose() -> Masks:
            return first_masks(config, units, self._weights, self.seed, self._liveness)

        return self.agreement.on_masks(choose, full_masks(self._all))

    def pruned(self, config: PruningConfig, masks: Masks, extent: PruneTarget) -> Masks:
        """Masks that prune as far as is asked: see `choose.masks_for`.

        Raises:
            ScoreError: The weights cannot be ranked.
        """
        resting = at_rest(self._all, self._optimizers())
        statistics = statistics_for(config, self.seed, self._gatherer.values, resting)

        def choose() -> Masks:
            return masks_for(
                config,
                self._structure,
                self._weights,
                masks,
                statistics,
                extent,
                self._liveness,
                self._paths,
            )

        found = self.agreement.on_masks(choose, masks)
        if any(not torch.equal(mask, masks[name]) for name, mask in found.items()):
            left = unscored(config.criterion, masks, statistics)
            # A critic without a target stays dense, whether it trains or not.
            left = {name: reason for name, reason in left.items() if not bool(found[name].all())}
            warn_of_unscored(config.criterion, left, self.by_magnitude)
            self.by_magnitude = left
        return found

    def exchanged(self, config: PruningConfig, masks: Masks, share: float, moment: int) -> Masks:
        """Masks in which weak weights gave way to others: see `choose.exchanged`.

        Args:
            config: "set" or "rigl".
            masks: Those in force.
            share: Share of the kept weights that is exchanged.
            moment: The lineage's clock, from which "set" draws.
        """
        gradients = self._gatherer.values("mean_gradient") if config.regrow == "rigl" else {}
        resting = set(at_rest(self._all, self._optimizers()))
        if self._liveness is not None and config.critic_final_sparsity == 0:
            # It stays dense: what of it reads a constant is dead, but goes nowhere.
            resting |= self._weights.critic.keys()

        def choose() -> Masks:
            return exchanged(
                config,
                self._all,
                masks,
                gradients,
                share=share,
                seed=(self.seed, moment),
                resting=resting,
                at_work=None if self._liveness is None else AtWork(self._liveness, masks),
            )

        return self.agreement.on_masks(choose, masks)
