"""Checks for contradictions between a PPO and a pruning configuration that hold for any trainer."""

from __future__ import annotations

import dataclasses

import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.preprocess.preprocess import RewardConnectors


def refuse_contradictions(ppo: PPOConfig, pruning: PruningConfig) -> None:
    """Checks that a policy trained with this PPO configuration can be pruned as configured.

    Args:
        ppo: Any PPO configuration of the new API stack with one policy.
        pruning: What to prune, how far, and when.

    Raises:
        ConfigError: The two contradict each other; the message says what to change.
    """
    if pruning.horizon is None:
        raise ConfigError(
            "pruning: horizon is missing, so begin and end have no meaning. Set it to the training "
            "budget in env steps, for example PruningConfig(horizon=100_000)."
        )
    _refuse_untrainable_module(ppo)
    weights = getattr(ppo._rl_module_spec, "load_state_path", None)
    if pruning.start != "dense" and weights is not None:
        raise ConfigError(
            f"pruning: start = {pruning.start!r} masks a network before it is trained, but "
            f"rl_module_spec.load_state_path = {weights!r} brings trained weights. Set start='dense', "
            "or leave the path out."
        )
    scaling = ppo._learner_connector
    if isinstance(scaling, RewardConnectors) and scaling.gamma and (ppo.num_learners or 0) > 1:
        raise ConfigError(
            f"num_learners = {ppo.num_learners}: rewards are normalised, and each Learner would have a "
            "scale of its own. Set num_learners to 0 or 1, or normalize: observations."
        )
    if pruning.critic_final_sparsity > 0 and _shares_encoder(ppo):
        raise ConfigError(
            f"critic_final_sparsity = {pruning.critic_final_sparsity} asks for a target of the "
            "critic's own, but actor and critic share their encoder (vf_share_layers). Set "
            "vf_share_layers=False in the model config, or critic_final_sparsity=0."
        )


def _refuse_untrainable_module(ppo: PPOConfig) -> None:
    """Refuses a user's RLModule class that lacks what RLlib asks it for only later, in training."""
    spec = ppo._rl_module_spec
    if isinstance(spec, MultiRLModuleSpec):
        specs = spec.rl_module_specs
        spec = specs.get(DEFAULT_MODULE_ID) if isinstance(specs, dict) else specs
    module_class = getattr(spec, "module_class", None)
    if not isinstance(module_class, type):
        return
    if not issubclass(module_class, torch.nn.Module):
        raise ConfigError(
            f"the RLModule {module_class.__name__} is not a torch module, so it has no weights that "
            "could be trained or pruned. Derive it from "
            "ray.rllib.core.rl_module.torch.TorchRLModule."
        )
    if not issubclass(module_class, ValueFunctionAPI):
        raise ConfigError(
            f"the RLModule {module_class.__name__} has no value function, and PPO computes its "
            "advantages from one. Derive it from ray.rllib.core.rl_module.apis.ValueFunctionAPI as "
            "well, and give it compute_values(batch, embeddings=None)."
        )


def _shares_encoder(ppo: PPOConfig) -> bool:
    model = ppo.model_config
    spec = ppo.rl_module_spec.model_config
    if spec is not None:
        model = {**model, **(spec if isinstance(spec, dict) else dataclasses.asdict(spec))}
    return bool(model.get("vf_share_layers", False))
