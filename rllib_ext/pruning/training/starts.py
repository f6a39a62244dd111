"""The initial masks of networks that don't start dense.

Random masks are made by the code that prunes by the criterion "random". "narrow" loses whole hidden
units, each layer the same share of its own; "sparse" loses single weights at the densities of
Erdős–Rényi-kernel (Mocanu et al. 2018, arXiv 1707.04780; Evci et al. 2020, arXiv 1911.11134), chosen so
that what is left is at work.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.criteria import Statistics
from rllib_ext.pruning.errors import ConfigError, TraceError
from rllib_ext.pruning.masks import Masks, full_masks
from rllib_ext.pruning.schedule.decide import PruneTarget
from rllib_ext.pruning.scope import PrunableWeights
from rllib_ext.pruning.structure.graph import Graph
from rllib_ext.pruning.structure.grouping import build_structure
from rllib_ext.pruning.structure.groups import Structure
from rllib_ext.pruning.structure.liveness import Liveness
from rllib_ext.pruning.training.choose import masks_for

# Of the clock that regrowth draws by; its first moment is later.
_BIRTH = 0


def units_of(
    config: PruningConfig,
    structure: Structure | None,
    graph: Callable[[], Graph] | None,
    weights: Collection[str],
) -> Structure | None:
    """Returns the hidden units of a network that starts narrow; None if it doesn't.

    Args:
        config: Configuration of the network's start.
        structure: The groups that pruning removes, where it removes groups.
        graph: Finds the network's coupling.
        weights: Names of all prunable matrices.

    Raises:
        ConfigError: No unit can be masked; the message says why.
    """
    if config.start != "narrow":
        return None
    if structure is not None and config.granularity == "neuron":
        return structure
    assert graph is not None, "a narrow start needs the network's coupling"
    try:
        return build_structure(graph(), "neuron", weights)
    except TraceError as error:
        raise ConfigError(
            f"pruning: start = 'narrow' masks whole hidden units, but {error.reason}. Set "
            "start='dense', or 'sparse'."
        ) from error


def first_masks(
    config: PruningConfig,
    units: Structure | None,
    weights: PrunableWeights,
    seed: int,
    liveness: Liveness | None,
) -> Masks:
    """Returns the masks of a fresh network.

    The critic's own weights stay, but for those that read a masked unit.

    Args:
        config: Configuration of the network's start and number of weights.
        units: Hidden units as returned by `units_of`; None masks single weights.
        weights: All prunable weights.
        seed: Fixes what is drawn.
        liveness: Tells which single weights are at work; None: all that are kept count.

    Returns:
        Masks of all weights. Of single weights round(density · n) are at work, and no others are kept;
        units are the fewest that hold as many, one a layer at least.
    """
    drawn = config.replace(criterion="random", scope="erk" if units is None else "layerwise")
    own_seed = int(np.random.SeedSequence((seed, _BIRTH)).generate_state(1)[0])
    masks = masks_for(
        drawn,
        units,
        weights,
        full_masks({**weights.policy, **weights.critic}),
        Statistics(seed=own_seed),
        PruneTarget(sparsity=config.starting_sparsity, critic_sparsity=0.0, threshold=None),
        liveness,
    )
    if units is None and liveness is not None:
        live = liveness.live(masks)
        # A constant of a fresh network is worth nothing: it goes with its weights, into no bias.
        masks |= {name: live[name] for name in weights.policy}
    return masks
