"""What a pruned algorithm should be, looked at from outside: torch's parameters and autograd only."""

import copy
import dataclasses
import math
from typing import Any

import torch
import tree
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from torch import Tensor

from rllib_ext.pruning.structure.copies import copy_of

SAMPLED_STEPS = 24


@dataclasses.dataclass(frozen=True)
class Paths:
    """What a network is made of, found on an algorithm that nobody pruned.

    Attributes:
        policy: Names of the parameters that the action distribution's inputs depend on.
        critic: Names of those that only the value depends on.
        zeros: For each parameter, where it was zero before anybody pruned.
        batch: A training batch of its own episodes, with initial states.
    """

    policy: frozenset[str]
    critic: frozenset[str]
    zeros: dict[str, Tensor]
    batch: dict[str, Any]

    def weights(self, module: torch.nn.Module, names: frozenset[str]) -> dict[str, Tensor]:
        """Those of the named parameters that have rows and columns."""
        parameters = dict(module.named_parameters())
        return {n: parameters[n].detach() for n in sorted(names) if parameters[n].dim() > 1}


def learner_module(algorithm: Algorithm) -> torch.nn.Module:
    return algorithm.learner_group._learner.module[DEFAULT_MODULE_ID].unwrapped()


def paths_of(algorithm: Algorithm) -> Paths:
    """Asks autograd, on a batch that the algorithm would train on next."""
    learner = algorithm.learner_group._learner
    episodes = algorithm.env_runner.sample(num_timesteps=SAMPLED_STEPS)
    batch = learner._learner_connector(
        rl_module=learner.module,
        batch={},
        episodes=episodes,
        shared_data={},
        metrics=learner.metrics,
    )[DEFAULT_MODULE_ID]
    # Units that are removed never leave the initial state.
    if Columns.STATE_IN in batch:
        batch[Columns.STATE_IN] = tree.map_structure(torch.zeros_like, batch[Columns.STATE_IN])
    module = learner_module(algorithm)
    named = dict(module.named_parameters())
    logits, values = outputs(module, batch)
    policy, value = _reached(logits, named), _reached(values, named)
    zeros = {name: parameter.detach() == 0.0 for name, parameter in named.items()}
    return Paths(policy, value - policy, zeros, batch)


def outputs(module: torch.nn.Module, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The action distribution's inputs and the values, as PPO's loss asks for them."""
    batch = copy.deepcopy(batch)
    with torch.random.fork_rng(devices=[]):
        # Some modules draw actions on their way.
        torch.manual_seed(0)
        if module.inference_only:
            found = module.forward_inference(batch)
            return found[Columns.ACTION_DIST_INPUTS], torch.zeros(())
        found = module.forward_train(batch)
        values = module.compute_values(batch, embeddings=found.get(Columns.EMBEDDINGS))
    return found[Columns.ACTION_DIST_INPUTS], values


def _reached(output: Tensor, named: dict[str, torch.nn.Parameter]) -> frozenset[str]:
    gradients = torch.autograd.grad(
        output.sum(), list(named.values()), allow_unused=True, retain_graph=True
    )
    return frozenset(n for n, g in zip(named, gradients, strict=True) if g is not None)


def count(weights: dict[str, Tensor]) -> tuple[int, int]:
    """Zeros, and weights in all."""
    return sum(int((w == 0.0).sum()) for w in weights.values()), sum(
        w.numel() for w in weights.values()
    )


def check_report(module: torch.nn.Module, paths: Paths, report: dict[str, Any]) -> None:
    """The report says what the parameters say, of the policy and of the critic."""
    policy, critic = (paths.weights(module, n) for n in (paths.policy, paths.critic))
    zeros, total = count(policy)
    assert (report["zeros"], report["total_params"]) == (zeros, total)
    assert report["nonzero_params"] == total - zeros
    assert math.isclose(report["sparsity"], zeros / total)
    critic_zeros, critic_total = count(critic)
    assert math.isclose(report["critic_sparsity"], critic_zeros / max(1, critic_total))
    layers = {n: count({n: w})[0] / w.numel() for n, w in {**policy, **critic}.items()}
    assert report["layers"] == layers


def check_nothing_else_is_zero(module: torch.nn.Module, paths: Paths) -> None:
    """What neither action nor value depends on is left as it was."""
    for name, parameter in module.named_parameters():
        if name not in paths.policy | paths.critic:
            assert torch.equal(parameter.detach() == 0.0, paths.zeros[name]), name


def check_moments(algorithm: Algorithm, paths: Paths) -> None:
    """No optimizer remembers anything of a weight that is zero."""
    learner = algorithm.learner_group._learner
    names = {id(p): n for n, p in learner_module(algorithm).named_parameters()}
    seen = set()
    for optimizer in learner._named_optimizers.values():
        for parameter, state in optimizer.state.items():
            for key, moment in state.items():
                if isinstance(moment, Tensor) and moment.shape == parameter.shape:
                    stale = int((moment[parameter == 0.0] != 0.0).sum())
                    assert not stale or parameter.dim() < 2, (names.get(id(parameter)), key, stale)
                    seen.add(names.get(id(parameter)))
    assert paths.policy <= seen, "the optimizers hold no moments of some of the policy's parameters"


def check_runner(algorithm: Algorithm, paths: Paths) -> None:
    """Episodes are played with the Learner's weights."""
    ours = dict(learner_module(algorithm).named_parameters())
    runner = algorithm.env_runner.module
    played = dict(runner.named_parameters())
    # RLlib sends none of these to an EnvRunner; recurrent modules have them there, as they began.
    unsent = runner.get_non_inference_attributes() if isinstance(runner, InferenceOnlyAPI) else []
    assert paths.policy <= played.keys()
    for name, parameter in played.items():
        if name in paths.policy or not name.startswith(tuple(f"{part}." for part in unsent)):
            assert torch.equal(parameter.detach(), ours[name].detach()), name


@torch.no_grad()
def check_units(module: torch.nn.Module, paths: Paths) -> int:
    """Whole units are gone, with all that they read and all that reads them; how many.

    Nothing but whole rows and whole columns is zero; and whatever stood in the removed rows, biases and
    columns would change no output.
    """
    before = outputs(module, paths.batch)
    filled = {"rows": copy_of(module), "columns": copy_of(module)}
    generator = torch.Generator().manual_seed(0)
    gone = 0
    parameters = dict(module.named_parameters())
    for name, weight in paths.weights(module, paths.policy).items():
        zero = weight == 0.0
        zero = zero.flatten(2).all(-1) if weight.dim() > 2 else zero
        rows, columns = zero.all(1), zero.all(0)
        explained = rows[:, None] | columns[None, :]
        assert torch.equal(zero, explained), f"{name} has zeros that belong to no unit"
        noise = torch.randn(weight.shape, generator=generator)
        dict(filled["rows"].named_parameters())[name][rows] = noise[rows]
        dict(filled["columns"].named_parameters())[name][:, columns] = noise[:, columns]
        bias = _bias_of(name)
        if bias in parameters:
            assert not parameters[bias][rows].any(), f"{bias} goes on where its units are gone"
            dict(filled["rows"].named_parameters())[bias][rows] = noise[rows].flatten(1)[:, 0]
        gone += int(rows.sum())
    for what, changed in filled.items():
        for output, was in zip(outputs(changed, paths.batch), before, strict=True):
            assert torch.allclose(output, was, atol=1e-5), f"removed {what} still have an effect"
    return gone


def _bias_of(weight: str) -> str:
    layer, _, name = weight.rpartition(".")
    return f"{layer}.{name.replace('weight', 'bias')}"
