"""Describes the network that a search prunes, and checks that it can reach the search's goal."""

from __future__ import annotations

from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.network import Network
from search.config.experiment import ExperimentConfig
from search.config.parameter import FloatParameter
from search.front.aim import AIMED, Aim

TARGET = "pruning.final_sparsity"


def fewest_weights(config: ExperimentConfig, network: Network) -> int | None:
    """Returns the lowest target number of weights of any member; None if only a threshold decides.

    Args:
        config: The experiment.
        network: The policy network.
    """
    if TARGET in config.search.space:
        sparsities = [float(value) for value in config.search.space[TARGET].extremes]
    elif config.pruning.final_sparsity is None:
        return None
    else:
        sparsities = [config.pruning.final_sparsity]
    left = network.total - round(max(sparsities) * network.total)
    # When live weights count, at least one path is left, with one weight in each layer.
    return max(left, network.layers if config.pruning.count == "live" else 0)


def described(config: ExperimentConfig, network: Network) -> str:
    """Describes the network, such as "4→64→64→2, 4,480 prunable weights, searched down to 9"."""
    told = f"{network.in_words}, {network.total:,} prunable weights"
    fewest = fewest_weights(config, network)
    if fewest is None:
        return told
    return f"{told}, {'searched down' if TARGET in config.search.space else 'pruned'} to {fewest:,}"


def described_goal(config: ExperimentConfig, network: Network) -> str:
    """Describes the goal and how the search aims at it; empty if there is no goal."""
    if not config.goal.given:
        return ""
    goal, strategy = config.goal.in_words, config.search.strategy
    if strategy == "train_then_prune":
        return f"{goal}; levels are spread evenly all the same"
    if not isinstance(config.search.space.get(TARGET), FloatParameter):
        how = "one of some values" if TARGET in config.search.space else "not searched"
        return f"{goal}; {TARGET} is {how}, so only ranks favour it"
    aimed = Aim(config.goal, total=network.total).weights(())
    where = (
        "the fewest weights known to keep enough"
        if aimed is None
        else f"{aimed[0]:,.0f} to {aimed[1]:,.0f} weights"
    )
    return f"{goal}; {AIMED:.0%} of the targets lie at {where}"


def refuse_unreachable_goal(config: ExperimentConfig, network: Network) -> None:
    """Checks that members can become as small as the goal requires.

    Args:
        config: The experiment.
        network: The policy network.

    Raises:
        ConfigError: No member can, or even the dense network is small enough.
    """
    most = config.goal.max_weights
    if most is None:
        return
    if most >= network.total:
        raise ConfigError(
            f"goal.max_weights = {most:,}, but the dense network has no more than {network.total:,} "
            "prunable weights on its policy path. Ask for fewer, or leave the goal out."
        )
    fewest = fewest_weights(config, network)
    if fewest is not None and fewest > most:
        needed = 1.0 - most / network.total
        raise ConfigError(
            f"goal.max_weights = {most:,}, but members keep {fewest:,} of {network.total:,} weights at "
            f"least. Let {TARGET} reach {needed:.6g} (search.space.{TARGET}.high), or ask for more "
            "weights."
        )
