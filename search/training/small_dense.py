"""Builds dense policies with about as many weights as a pruned one, the baseline that it has to beat."""

from __future__ import annotations

import itertools

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.pruning.errors import ConfigError
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.rl.module.critic import critic_names
from rllib_ext.rl.module.initial import InitialCatalog
from rllib_ext.rl.prunable import fresh_network
from search.population.plain_sizes import narrowed
from search.training.narrow_actor import with_actor


def small_dense(ppo: PPOConfig, weights: int) -> PPOConfig:
    """Returns a configuration whose policy is dense and has about the given number of weights.

    All hidden layers of the policy shrink by the same factor. If actor and critic share no layer, the
    critic's layers keep their size.

    Args:
        ppo: PPO configuration with RLlib's own network of linear layers.
        weights: Maximum number of weights on the policy path, without biases. The largest network within
            it is built, or the smallest possible one, with one unit per layer.

    Raises:
        ConfigError: The network doesn't consist of linear layers only, so widths don't give its size.
    """
    widths = narrowed(policy_layers(ppo), weights)
    model = dict(ppo.model_config)
    heads = len(model.get("head_fcnet_hiddens") or ())
    encoder, head = widths[: len(widths) - heads], widths[len(widths) - heads :]
    if not model.get("vf_share_layers", True):
        return with_actor(ppo, encoder, head)
    small: PPOConfig = ppo.copy(copy_frozen=False)
    small.rl_module(model_config={**model, "fcnet_hiddens": encoder, "head_fcnet_hiddens": head})
    return small


def policy_layers(ppo: PPOConfig) -> tuple[tuple[int, int], ...]:
    """Returns the outputs and inputs of each layer of the policy, from observation to action.

    Raises:
        ConfigError: For the same reasons as in `small_dense`.
    """
    refuse_own_module("small_dense", ppo)
    module, _ = fresh_network(ppo)
    found = prunable_weights(module, critic_names(module)).policy
    shapes = [tuple(weight.shape) for weight in found.values()]
    chained = all(len(a) == len(b) == 2 and b[1] == a[0] for a, b in itertools.pairwise(shapes))
    if not chained or module.is_stateful():
        raise ConfigError(
            "small_dense: the policy is no chain of linear layers, so no width says how large it is. "
            "Leave baselines.small_dense at 0."
        )
    if len(shapes) < 2:
        raise ConfigError("small_dense: the policy has no hidden layer that could be narrower.")
    return tuple((int(outputs), int(inputs)) for outputs, inputs in shapes)


def refuse_own_module(kind: str, ppo: PPOConfig) -> None:
    """Checks that the network is RLlib's own.

    Raises:
        ConfigError: The configuration has an RLModule spec of its own.
    """
    spec = ppo._rl_module_spec
    if spec is not None and spec.catalog_class is not InitialCatalog:
        raise ConfigError(
            f"{kind}: the configuration has an RLModule spec of its own; expected RLlib's own network."
        )
