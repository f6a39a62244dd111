"""Finds how far to prune so that a given number of live weights is left. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from rllib_ext.pruning.masks import Masks
from rllib_ext.pruning.structure.liveness import Liveness
from rllib_ext.pruning.training.regrow import exchange, grow


class AtWork:
    """Chooses among masks by what they leave at work.

    Args:
        liveness: Tells live weights from dead ones.
        masks: Masks of all prunable weights as they are; candidates replace some of them.
    """

    def __init__(self, liveness: Liveness, masks: Mapping[str, Tensor]) -> None:
        self._liveness = liveness
        self._masks = dict(masks)

    def count(self, masks: Mapping[str, Tensor]) -> int:
        """Returns the number of live weights under some masks."""
        return self._liveness.count({**self._masks, **masks}, masks)

    def pruned(
        self,
        pruned_to: Callable[[int], Masks],
        scores: Mapping[str, Tensor],
        numbers: tuple[int, int],
        wanted: int,
    ) -> Masks:
        """Returns masks that leave the wanted number of live weights.

        They prune least among those that leave no more. Where the next weight to come back would bring
        several to life, the lowest scores of those go again, one after the other. Fewer weights than
        were wanted are left where even so some can only go together; a network that has a live weight
        keeps one, and with it a path from an input to an output, however few were wanted.

        Args:
            pruned_to: Masks with so many weights pruned; each larger number prunes more.
            scores: Scores by layer.
            numbers: The least that can be pruned, and the most that is asked for.
            wanted: Number of live weights to keep.
        """
        wanted = max(wanted, 1)
        low, high = numbers
        below = pruned_to(high)
        # Where as many are left as the masks keep, none is dead, and pruning less would leave more.
        if self.count(below) >= wanted:
            return below
        above: Masks | None = None
        while low < high:
            middle = (low + high) // 2
            masks = pruned_to(middle)
            left = self.count(masks)
            if left > wanted:
                low, above = middle + 1, masks
            else:
                high, below = middle, masks
        left = self.count(below)
        if above is None or left == wanted:
            return below
        peeled = self._peeled(above, scores, wanted)
        return below if left and not left <= self.count(peeled) <= wanted else peeled

    def _peeled(self, masks: Masks, scores: Mapping[str, Tensor], wanted: int) -> Masks:
        """Masks without the lowest scores that can go without leaving fewer than wanted at work."""
        found = {name: mask.clone() for name, mask in masks.items()}
        live = self._liveness.live({**self._masks, **found})
        left = sum(int(live[name].sum()) for name in found)
        by_score = sorted(
            (float(scores[name][tuple(place)]), number, tuple(place))
            for number, name in enumerate(found)
            for place in live[name].nonzero().tolist()
        )
        names = list(found)
        # At last one may go that takes more along than had to go.
        for fewest in (wanted, 1):
            for _, number, place in by_score:
                if left <= wanted:
                    return found
                mask = found[names[number]]
                if not bool(mask[place]):
                    continue
                mask[place] = False
                now = self.count(found)
                if now < fewest:
                    mask[place] = True
                else:
                    left = now
        return found

    def exchanged(
        self,
        weights: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        growth: Mapping[str, Tensor],
        share: float,
    ) -> Masks:
        """Masks in which weak weights gave way to others that are at work where they grow.

        Each layer grows as many weights as it lost, or as many as connect. What the exchange leaves
        unconnected is replaced in a few rounds.

        Args:
            weights: Weights by layer.
            masks: Masks by the same names.
            growth: Growth scores by the same names.
            share: Share of each layer's kept weights that is exchanged.
        """
        wanted = {name: int(mask.sum()) for name, mask in masks.items()}
        found = exchange(weights, masks, growth, share, self._places)
        for _ in range(_ROUNDS):
            live = self._liveness.live({**self._masks, **found})
            found = {name: live[name] for name in masks}
            if all(int(found[name].sum()) == number for name, number in wanted.items()):
                break
            found = grow(found, growth, wanted, self._places)
        live = self._liveness.live({**self._masks, **found})
        return {name: live[name] for name in masks}

    def _places(self, masks: Mapping[str, Tensor]) -> Masks:
        places = self._liveness.places({**self._masks, **masks})
        return {name: places[name] for name in masks}


# Weights that grow can only bring units back that others still reach: more rounds find nothing.
_ROUNDS = 3
