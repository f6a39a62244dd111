"""A network in training with its masks: applies decisions, keeps masks exact, travels in checkpoints.

Used by whoever owns the optimizer, once for each network. The masks lie beside the module, never in
it: parameters keep their names, so that weight sync, checkpoints and plain PPO go on working.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.masks import Masks, full_masks, masks_from_numpy, masks_to_numpy
from rllib_ext.pruning.schedule.decide import Event, PruneTarget, ScheduleState, decide, start
from rllib_ext.pruning.schedule.restart import rate_factor
from rllib_ext.pruning.scope import prunable_weights, refuse_nothing_to_prune
from rllib_ext.pruning.structure.graph import Graph, Probe
from rllib_ext.pruning.training.accepted import Accepted
from rllib_ext.pruning.training.agreement import Agreement, Synchronise
from rllib_ext.pruning.training.choose import (
    config_for_next_masks,
    kinds_for,
    read_by_criterion,
    read_by_regrowth,
)
from rllib_ext.pruning.training.fit_initial import fit_initial_
from rllib_ext.pruning.training.masked import MaskedNetwork
from rllib_ext.pruning.training.metrics import schedule_metrics, sparsity_metrics, structure_metrics
from rllib_ext.pruning.training.next_masks import NextMasks
from rllib_ext.pruning.training.optimizer import OptimizerLike
from rllib_ext.pruning.training.rewind import Rewinding
from rllib_ext.pruning.training.side import Coefficients, SideState
from rllib_ext.pruning.training.starts import units_of
from rllib_ext.pruning.training.statistics import Allocate, Gatherer
from rllib_ext.pruning.training.taken_over import EVENTS, begun, staying, taken_over
from rllib_ext.pruning.training.understood import understood


class Pruner:
    """Prunes one network while other code trains it.

    Args:
        module: The network.
        optimizers: Returns the optimizers of its parameters.
        config: The pruning configuration, with `horizon` set.
        critic_prefixes: Names of submodules used only by the critic.
        seed: For criteria that draw.
        synchronise: Makes a mask the same on all processes that train this network together (see
            `Agreement`); None: there is only this one.
        graph: Finds the network's coupling; called once. None: single weights are pruned, and all that
            are kept count as at work.
        probe: Example inputs and how to run the network on them; required with `graph`.
        room: Memory for statistics (see `Gatherer`); None allocates tensors.
        coefficients: Other values that adapt in training and are rolled back with the weights.
        constants: Values that biases were initialised to on purpose (see `fit_initial_`).

    Attributes:
        begins_trained: Whether the first weights were trained elsewhere.

    Raises:
        ConfigError: The network has nothing that could be removed in the configured way.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizers: Callable[[], Sequence[OptimizerLike]],
        config: PruningConfig,
        *,
        critic_prefixes: Iterable[str] = (),
        seed: int = 0,
        synchronise: Synchronise | None = None,
        graph: Callable[[], Graph] | None = None,
        probe: Probe | None = None,
        room: Allocate | None = None,
        coefficients: Coefficients | None = None,
        constants: Iterable[float] = (),
    ) -> None:
        self.module = module
        self.config = config
        self.weights = prunable_weights(module, critic_prefixes, config.exclude)
        refuse_nothing_to_prune(config, self.weights)
        self.all_weights = {**self.weights.policy, **self.weights.critic}
        self.standing: ScheduleState = start(config)
        self.env_steps = 0
        self.random_return = config.random_return
        self.begins_trained = False
        self.event = ""
        self.events = dict.fromkeys(EVENTS, 0)
        self.extent: PruneTarget | None = None
        self._evaluated_return: float | None = None
        self._accepted: Accepted | None = None
        self._optimizers = optimizers
        self._constants = tuple(constants)
        self.gatherer = Gatherer(module, self.all_weights, kinds_for(config), config.window, room)
        self._side = SideState(self.gatherer, coefficients)
        self._rewinding = Rewinding(config.rewind_to, self._side)
        self._rolls_back = False
        graph = None if graph is None else functools.cache(graph)
        known = understood(module, config, self.weights, graph, probe)
        self.structure, self._dead = known.structure, known.dead
        self._units = units_of(config, self.structure, graph, self.all_weights)
        self._network = MaskedNetwork(
            module, self.all_weights, optimizers, self.structure, known.dead
        )
        agreement = Agreement(synchronise, next(iter(self.all_weights.values())).device)
        self._next = NextMasks(
            self.weights,
            self.structure,
            self.gatherer,
            optimizers,
            seed,
            agreement,
            None if self._dead is None else self._dead.liveness,
            known.paths,
        )

    @property
    def masks(self) -> Masks:
        """The masks in force, by weight name."""
        return self._network.masks

    @property
    def progress(self) -> float:
        """Env steps of the lineage ÷ horizon."""
        assert self.config.horizon is not None
        return self.env_steps / self.config.horizon

    @property
    def enforced(self) -> Masks:
        """The masks of all that is held at zero: weights, and biases of removed units."""
        return self._network.enforced

    @property
    def rate_factor(self) -> float:
        """By what the learning rate of the update that has started is multiplied, ≥ 1."""
        return rate_factor(self.config, self.standing.restarted_at, self.progress)

    def begin_(self) -> bool:
        """Gives a fresh network what it starts with: masks, and weights for the size that is left.

        Called once, before anything plays or trains it, and never for one that goes on from a state. The
        schedule rises from there.

        Returns:
            Whether anything was changed.
        """
        if self.config.start == "dense":
            return False
        masks = self._next.first(self.config, self._units)
        gone = {} if self._units is None else self._units.bias_masks(masks)
        fit_initial_(self.module, masks, gone, self._constants)
        self._network.put_under_(masks)
        self.standing = begun(self.config, self.weights, masks)
        return True

    def begin_trained_(self) -> None:
        """Takes over first weights that were trained elsewhere: all stay, whatever `start` is."""
        self.begins_trained = True
        self._network.load_(full_masks(self.all_weights))
        self.standing = start(self.config)

    def observe(self, evaluated_return: float) -> None:
        """Takes the mean return of the network as it is now, for the next decision."""
        self._evaluated_return = evaluated_return

    def before_update(self, env_steps: int) -> bool:
        """Decides for the update that is about to start, and prunes for it.

        Args:
            env_steps: Training env steps of the lineage, those of this update's batch included.

        Returns:
            Whether this update's divergence says nothing of the step size: weights were pruned, or all
            that it does goes back in `after_update`.
        """
        learnt = self.begins_trained or self.env_steps > 0
        self.env_steps = env_steps
        trained = self.begins_trained or self.standing.anchor is not None
        config = config_for_next_masks(self.config, self.masks, trained=trained)
        ready = self._next.knows(read_by_criterion(config))
        decision, self.standing = decide(
            self.config,
            self.standing,
            self.progress,
            self._evaluated_return if ready else None,
            self.random_return or 0.0,
        )
        self._evaluated_return = None
        self._rewinding.keep(self.module, self.progress)
        if decision.accept:
            self._accepted = Accepted.take(self.module, self.masks, self._optimizers(), self._side)
        self._rolls_back = decision.roll_back
        prunes = ready and decision.prune and not decision.roll_back
        pruned = prunes and self._network.prune_(
            self._next.pruned(config, self.masks, decision.extent)
        )
        if (pruned and learnt) or decision.roll_back:
            # What comes back in a roll-back is as it was before the weights went.
            self.standing = dataclasses.replace(
                self.standing, restarted_at=self.progress if pruned else None
            )
        regrows = decision.regrow > 0 and self._next.knows(read_by_regrowth(config))
        regrown = regrows and not pruned and self._regrow(decision.regrow)
        self._rewinding.due = pruned and self.config.rewind_to is not None
        self.extent = decision.extent
        self._count(decision.event or ("pruned" if pruned else "regrown" if regrown else ""))
        return pruned or regrown or decision.roll_back

    def observe_gradients(
        self, gradients: Iterable[tuple[nn.Parameter, Tensor | None]], *, scale: float = 1.0
    ) -> None:
        """Takes one minibatch's gradients, before they are masked, for criteria that read them.

        Args:
            gradients: Parameters with their gradients.
            scale: By what the loss was multiplied, so that gradients don't vanish in few bits.
        """
        self.gatherer.observe_gradients(gradients, scale)

    def after_update(self) -> bool:
        """Rolls back, or rewinds the surviving weights after a round; called when an update is over.

        Not at its start: the batch at hand was sampled by the weights from before. Those that come back
        are far from them, and one update on such a batch wrecks a policy. What the update has done to
        weights, moments, statistics and coefficients is undone.

        Returns:
            Whether weights, and perhaps masks, were changed.
        """
        if self._rolls_back:
            assert self._accepted is not None, "the plateau rule accepts a state before it raises"
            self._rolls_back = False
            self._network.put_back_(self._accepted, self._side)
            return True
        if self._rewinding.due:
            self._rewinding.rewind_(self.module, self._optimizers())
            self._network.apply_()
            self._count("rewound")
            return True
        return False

    def mask_gradients_(self, gradients: Iterable[tuple[nn.Parameter, Tensor | None]]) -> None:
        """Zeroes gradients of pruned weights in place, before they are clipped."""
        self._network.mask_gradients_(gradients)

    def enforce_(self) -> None:
        """Sets every masked weight to zero again; called after every optimizer step."""
        self._network.enforce_()

    def freeze_masks(self) -> None:
        """Keeps the masks as they are from now on, whatever becomes of the scores."""
        self.config = staying(self.config, self.weights, self.masks)

    def report(self) -> dict[str, Any]:
        """Returns the current state for metrics: sparsities of stored weights, extent in force, events.

        "by_magnitude" has the layers that were last pruned so since they don't train, and why.
        """
        return {
            **sparsity_metrics(self.weights),
            **structure_metrics(self.structure, self.masks),
            **schedule_metrics(self.extent, self.standing, self.config.patience),
            **({"lr_factor": self.rate_factor} if self.config.lr_restart > 1.0 else {}),
            "env_steps": self.env_steps,
            "progress": self.progress,
            "event": self.event,
            "events": dict(self.events),
            "by_magnitude": dict(self._next.by_magnitude),
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything that must travel with a checkpoint or a clone, in plain values and arrays."""
        return {
            "config": self.config.to_dict(),
            "masks": masks_to_numpy(self.masks),
            "standing": self.standing.to_dict(),
            "env_steps": self.env_steps,
            "random_return": self.random_return,
            "begins_trained": self.begins_trained,
            "events": dict(self.events),
            "evaluated_return": self._evaluated_return,
            "accepted": None if self._accepted is None else self._accepted.to_state(),
            "statistics": self.gatherer.state_dict(),
            "rewind_to": self._rewinding.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over a checkpoint's masks and clock, and its schedule where that is still the same.

        Where the configuration is another one, the schedule is anchored anew (see `taken_over`).

        Raises:
            CheckpointError: The masks are for other weights.
        """
        masks = masks_from_numpy(state["masks"], self.all_weights)
        taken = taken_over(self.config, state, self.weights, masks)
        self.standing, self.events = taken.standing, taken.events
        self._evaluated_return, self._accepted = taken.evaluated_return, taken.accepted
        self.env_steps = int(state["env_steps"])
        if self.random_return is None:
            self.random_return = state["random_return"]
        self.begins_trained = bool(state.get("begins_trained", False))
        self.gatherer.load_state_dict(state["statistics"])
        self._rewinding.load_state_dict(state["rewind_to"])
        self._rolls_back = False
        self._network.load_(masks)

    def _regrow(self, share: float) -> bool:
        masks = self._next.exchanged(self.config, self.masks, share, self.env_steps)
        return self._network.exchange_(masks, share)

    def _count(self, event: Event) -> None:
        self.event = event
        if event:
            self.events[event] += 1
