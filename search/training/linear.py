"""Makes policies without hidden layers: fitted to the dense policy's episodes, then trained by PPO."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline
from scipy.special import softmax

from rllib_ext.checkpoint.warm_start import Initial
from rllib_ext.envs.env_maker import env_maker, env_name
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.member.segment import Segment
from rllib_ext.member.snapshot import metadata_of
from rllib_ext.member.trainable import MemberSettings
from rllib_ext.packed.together import evaluate_together
from rllib_ext.policy.store import PolicyParts, load_policy
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.rl.prunable import fresh_network
from search.training.demonstrations import Demonstration, demonstrate
from search.training.lesson import Lesson
from search.training.linear_fit import LinearMap, fitted
from search.training.narrow_actor import with_actor
from search.training.to_end import train_to_end
from search.training.vectors import Vectors, vectors_of

_WEIGHT, _BIAS, _FREE = "pi.net.mlp.0.weight", "pi.net.mlp.0.bias", "pi.log_std"
UNIMPROVED = "; training made it no better, so it is as it was fitted"


def linear_ppo(ppo: PPOConfig) -> PPOConfig:
    """Returns a configuration with a linear policy on the network's inputs and the same critic."""
    return with_actor(ppo, (), (), vf_share_layers=False)


def train_linear(
    settings: MemberSettings, segment: Segment, packed: bool, lesson: Lesson
) -> list[dict[str, Any]]:
    """Fits a linear policy to the dense one, trains it, and keeps the better of the two.

    Args:
        settings: Settings with the configuration of `linear_ppo`.
        segment: Segment that trains the policy.
        packed: Whether a pack trains it; otherwise RLlib does.
        lesson: Teacher, size and episodes for the fit.

    Returns:
        The policy's last result, in the form that `train_to_end` returns.
    """
    torch.set_num_threads(1)
    ppo, folder = settings.ppo_config, Path(settings.folder)
    dense = folder / lesson.dense
    evaluator = Evaluator(env_maker(ppo))
    try:
        shown = demonstrate(load_policy(dense), evaluator, lesson.rounds[0])
    finally:
        evaluator.close()
    start: Any = _fitted_parts(ppo, shown, lesson, dense, segment.seed)
    weight = dict(start.module.named_parameters())[_WEIGHT]
    kept = int((weight != 0).sum())
    # The weights that the fit left at zero are pruned before the first update.
    pruning = PruningConfig(
        horizon=segment.until_env_steps,
        final_sparsity=1.0 - kept / weight.numel(),
        schedule="constant",
    )
    segment = dataclasses.replace(segment, pruning=pruning.to_dict())
    with tempfile.TemporaryDirectory() as name:
        initial = Path(name) / "initial.pkl"
        _initial_of(start).save(initial)
        settings = dataclasses.replace(settings, initial=str(initial))
        (result,) = train_to_end(settings, [segment], packed)
    result["env_steps"] += shown.env_steps
    return [_the_better(result, start, settings, lesson)]


def _the_better(
    result: dict[str, Any], start: PolicyParts, settings: MemberSettings, lesson: Lesson
) -> dict[str, Any]:
    """Replaces the trained policy by the fitted one if training didn't improve it."""
    snapshot = result.get("snapshot")
    if not snapshot:
        return result
    ppo, place = settings.ppo_config, Path(settings.folder) / snapshot["checkpoint"]
    policies = [start.policy(), load_policy(place)]
    before, after = evaluate_together(policies, env_maker(ppo), lesson.choosing)
    result["env_steps"] += sum(before.lengths) + sum(after.lengths)
    if not after.mean > before.mean or snapshot["status"] == "failed":
        masks = {_WEIGHT: dict(start.module.named_parameters())[_WEIGHT].detach() != 0}
        snapshot |= {
            "nonzero_params": int(masks[_WEIGHT].sum()),
            "return_mean": before.mean,
            "status": "ok",
        }
        start.save(masks, place, metadata_of(snapshot, env_name(ppo)))
        result["note"] = UNIMPROVED
    # The logit that stays 0 and the parameters of the actions' spread don't count as its weights.
    whole = vectors_of("linear", ppo).linear
    snapshot |= {"total_params": whole, "sparsity": 1.0 - snapshot["nonzero_params"] / whole}
    return result


def _fitted_parts(
    ppo: PPOConfig, shown: Demonstration, lesson: Lesson, dense: Path, seed: int
) -> PolicyParts:
    """Returns the policy with fitted weights, the dense policy's connectors and a fresh critic."""
    vectors = vectors_of("linear", ppo)
    thin = shown.thinned()
    targets = thin.outputs.astype(np.float64)
    aims = softmax(targets, axis=1) if vectors.discrete else targets[:, : vectors.actions]
    found = fitted(thin.inputs.astype(np.float64), aims, lesson.size, discrete=vectors.discrete)
    # The critic's initial weights are random.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module, _ = fresh_network(ppo)
    _put_into(module, found, vectors, targets)
    return PolicyParts(
        module=module,
        env_to_module=EnvToModulePipeline.from_checkpoint((dense / "env_to_module").resolve()),
        module_to_env=ModuleToEnvPipeline.from_checkpoint((dense / "module_to_env").resolve()),
    )


@torch.no_grad()
def _put_into(module: Any, found: LinearMap, vectors: Vectors, outputs: Any) -> None:
    parameters = dict(module.named_parameters())
    weight, bias = parameters[_WEIGHT], parameters[_BIAS]
    weight.zero_()
    bias.zero_()
    weight[: len(found.weights)] = torch.from_numpy(found.weights).to(weight)
    bias[: len(found.biases)] = torch.from_numpy(found.biases).to(bias)
    if not vectors.discrete:
        # The policy explores as widely as the dense policy does on average.
        spread = torch.from_numpy(outputs[:, vectors.actions :].mean(axis=0)).to(bias)
        (parameters[_FREE] if _FREE in parameters else bias[vectors.actions :]).copy_(spread)


def _initial_of(parts: PolicyParts) -> Initial:
    states = parts.env_to_module.get_state()
    return Initial(
        weights={n: v.detach().cpu().numpy() for n, v in parts.module.state_dict().items()},
        filters={name: state for name, state in states.items() if state},
    )
