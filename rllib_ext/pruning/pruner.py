"""A network in training with its masks: applies decisions, keeps masks exact, travels in checkpoints.

Used by whoever owns the optimizer, once for each network. The masks lie beside the module, never in
it: parameters keep their names, so that weight sync, checkpoints and plain PPO go on working.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rllib_ext.pruning.accepted import Accepted
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.criteria import Statistics, in_layer_deviations, score
from rllib_ext.pruning.decide import Decision, Extent, Standing, decide, start
from rllib_ext.pruning.masks import (
    Masks,
    apply_masks_,
    count_for,
    full_masks,
    masks_from_numpy,
    masks_to_numpy,
    prune,
)
from rllib_ext.pruning.metrics import schedule_metrics, sparsity_metrics
from rllib_ext.pruning.optimizer import clear_moments_
from rllib_ext.pruning.scope import prunable_weights

Synchronise = Callable[[Tensor], None]


class Pruner:
    """Prunes one network while somebody else trains it.

    Args:
        module: The network.
        optimizers: Returns the optimizers of its parameters.
        config: What to prune, how far, and when; `horizon` is set.
        critic_prefixes: Names of submodules that only the critic uses.
        seed: For criteria that draw.
        synchronise: Called with each new mask (uint8), in a fixed order, to make it the same on all
            processes that train this network together.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizers: Callable[[], Sequence[Optimizer]],
        config: PruningConfig,
        *,
        critic_prefixes: Iterable[str] = (),
        seed: int = 0,
        synchronise: Synchronise | None = None,
    ) -> None:
        self.module = module
        self.config = config
        self.weights = prunable_weights(module, critic_prefixes, config.exclude)
        self.all_weights = {**self.weights.policy, **self.weights.critic}
        self.masks: Masks = full_masks(self.all_weights)
        self.standing: Standing = start(config)
        self.env_steps = 0
        self.random_return = config.random_return if config.random_return is not None else 0.0
        self.event = ""
        self.events = {"pruned": 0, "held": 0, "rolled_back": 0}
        self.extent: Extent | None = None
        self._evaluated_return: float | None = None
        self._accepted: Accepted | None = None
        self._optimizers = optimizers
        self._statistics = Statistics(seed=seed)
        self._synchronise = synchronise
        self._masked: list[tuple[nn.Parameter, Tensor]] = []

    @property
    def progress(self) -> float:
        """Env steps of the lineage ÷ horizon."""
        assert self.config.horizon is not None
        return self.env_steps / self.config.horizon

    def observe(self, evaluated_return: float | None) -> None:
        """Takes the mean return of the network as it is now, for the next decision."""
        self._evaluated_return = evaluated_return

    def before_update(self, env_steps: int) -> bool:
        """Decides, and prunes or rolls back, for the update that is about to start.

        Args:
            env_steps: Training env steps of the lineage, those of this update's batch included.

        Returns:
            Whether weights were changed.
        """
        self.env_steps = env_steps
        decision, self.standing = decide(
            self.config, self.standing, self.progress, self._evaluated_return, self.random_return
        )
        self._evaluated_return = None
        if decision.accept:
            self._accepted = Accepted.take(self.module, self.masks, self._optimizers())
        if decision.roll_back:
            self._roll_back()
        pruned = not decision.roll_back and self._prune(decision.extent)
        self.extent = decision.extent
        self._report(decision, pruned)
        return pruned or decision.roll_back

    def mask_gradients_(self, gradients: Iterable[tuple[nn.Parameter, Tensor | None]]) -> None:
        """Zeroes gradients of pruned weights in place, so that they don't count in a clipped norm."""
        by_parameter = {id(parameter): mask for parameter, mask in self._masked}
        chosen = [
            (gradient, by_parameter[id(parameter)])
            for parameter, gradient in gradients
            if gradient is not None and id(parameter) in by_parameter
        ]
        if chosen:
            torch._foreach_mul_([g for g, _ in chosen], [m for _, m in chosen])

    @torch.no_grad()
    def enforce_(self) -> None:
        """Sets every masked weight to zero again; called after every optimizer step."""
        if self._masked:
            torch._foreach_mul_([p for p, _ in self._masked], [m for _, m in self._masked])

    def report(self) -> dict[str, Any]:
        """What stands now, for metrics: sparsities from stored weights, extent in force, events."""
        return {
            **sparsity_metrics(self.weights),
            **schedule_metrics(self.extent, self.standing, self.config.patience),
            "env_steps": self.env_steps,
            "progress": self.progress,
            "event": self.event,
            "events": dict(self.events),
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything that must travel with a checkpoint or a clone, in plain values and arrays."""
        return {
            "config": self.config.to_dict(),
            "masks": masks_to_numpy(self.masks),
            "standing": self.standing.to_dict(),
            "env_steps": self.env_steps,
            "random_return": self.random_return,
            "events": dict(self.events),
            "evaluated_return": self._evaluated_return,
            "accepted": None if self._accepted is None else self._accepted.to_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over a checkpoint's masks and clock, and its schedule where that is still the same.

        Where the configuration is another one – a clone with new hyperparameters – the schedule is
        anchored anew at (now, sparsity now), so that sparsity doesn't jump.

        Raises:
            CheckpointError: The masks are for other weights.
        """
        self.masks = masks_from_numpy(state["masks"], self.all_weights)
        self.env_steps = int(state["env_steps"])
        self.random_return = float(state["random_return"])
        if PruningConfig.from_dict(state["config"]) == self.config:
            self.standing = Standing.from_dict(state["standing"])
            self.events = dict(state["events"])
            self._evaluated_return = state["evaluated_return"]
            accepted = state["accepted"]
            self._accepted = (
                None if accepted is None else Accepted.from_state(accepted, self.all_weights)
            )
        else:
            self.standing = self._anchored_standing(state)
            self._evaluated_return = None
            self._accepted = None
        self._collect_masked()
        apply_masks_(self.all_weights, self.masks)

    def _anchored_standing(self, state: Mapping[str, Any]) -> Standing:
        old = PruningConfig.from_dict(state["config"])
        old_standing = Standing.from_dict(state["standing"])
        before, _ = decide(old, old_standing, self.env_steps / (old.horizon or 1), None, 0.0)
        now = Standing(
            anchor=self.progress,
            sparsity=self._masked_share(self.weights.policy),
            critic_sparsity=self._masked_share(self.weights.critic),
            threshold=before.extent.threshold or 0.0,
        )
        return start(self.config, now)

    def _masked_share(self, weights: Mapping[str, Tensor]) -> float:
        total = sum(w.numel() for w in weights.values())
        kept = sum(int(self.masks[name].sum()) for name in weights)
        return 1.0 - kept / total if total else 0.0

    def _prune(self, extent: Extent) -> bool:
        """Removes weights of the policy path and of the critic; returns whether any went."""
        policy = self._chosen(self.weights.policy, extent.sparsity, extent.threshold)
        # A threshold speaks of the policy path; the critic follows its own target only.
        critic = self._chosen(self.weights.critic, extent.critic_sparsity, None)
        masks = {**policy, **critic}
        if self._synchronise is not None:
            for mask in masks.values():
                shared = mask.to(torch.uint8)
                self._synchronise(shared)
                mask.copy_(shared.bool())
        if all(torch.equal(mask, self.masks[name]) for name, mask in masks.items()):
            return False
        self.masks = masks
        self._collect_masked()
        apply_masks_(self.all_weights, self.masks)
        clear_moments_(self._optimizers(), self.all_weights, self.masks)
        return True

    def _chosen(
        self, weights: Mapping[str, Tensor], sparsity: float | None, threshold: float | None
    ) -> Masks:
        masks = {name: self.masks[name] for name in weights}
        count = None if sparsity is None else count_for(sparsity, weights)
        if threshold is None and count is None:
            return {name: mask.clone() for name, mask in masks.items()}
        scores = score(self.config.criterion, weights, self._statistics)
        if threshold is not None and self.config.threshold_unit == "std":
            scores = in_layer_deviations(scores, weights)
        return prune(scores, masks, scope=self.config.scope, count=count, threshold=threshold)

    def _collect_masked(self) -> None:
        # As floats, and only where something is pruned: enforcing is then one fused multiplication.
        self._masked = [
            (self.all_weights[name], mask.to(self.all_weights[name].dtype))
            for name, mask in self.masks.items()
            if not bool(mask.all())
        ]

    def _report(self, decision: Decision, pruned: bool) -> None:
        self.event = decision.event or ("pruned" if pruned else "")
        if self.event:
            self.events[self.event] += 1

    def _roll_back(self) -> None:
        assert self._accepted is not None, "the plateau rule accepts a state before it raises"
        self.masks = self._accepted.put_back_(self.module, self._optimizers())
        self._collect_masked()
