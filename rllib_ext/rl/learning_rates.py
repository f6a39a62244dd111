"""Restores learning rates so that a lineage continues where it was, by its own configuration.

RLlib takes the donor's rates from the optimizer's state and corrects them only after the first update
(ray-project/ray#62173). It doesn't save torch's schedulers (`_torch_lr_scheduler_classes`): a fresh
Learner restarts them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from torch.optim import Optimizer


class LearningRates:
    """The learning rates of an RLlib torch Learner.

    Args:
        learner: The Learner, already built.
    """

    def __init__(self, learner: Any) -> None:
        self._learner = learner
        self._usual: list[tuple[dict[str, Any], Any]] = []
        # By optimizer: the configured rate that its groups and torch's schedulers are based on.
        self._based_on = {name: self._first_of(name) for name in learner._named_optimizers}

    def state_dict(self) -> dict[str, Any]:
        """Returns the configured rates and the state of torch's schedulers, for a checkpoint."""
        return {
            "based_on": dict(self._based_on),
            "schedulers": {
                module_id: {
                    name: [(_kind(s), copy.deepcopy(s.state_dict())) for s in schedulers]
                    for name, schedulers in by_name.items()
                }
                for module_id, by_name in self._learner._lr_schedulers.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Restores the schedulers, after the optimizers' own state was loaded.

        Args:
            state: What `state_dict` returned, or None if the checkpoint is plain RLlib's.
        """
        self._learner._lr_schedulers = {}
        found = {} if state is None else state["based_on"]
        for name, optimizer in self._learner._named_optimizers.items():
            group = optimizer.param_groups[0]
            self._based_on[name] = found.get(name, float(group.get("initial_lr", group["lr"])))
        for module_id, by_name in ({} if state is None else state["schedulers"]).items():
            for name, saved in by_name.items():
                if name in self._learner._named_optimizers:
                    self._restart(module_id, name, saved)

    def raise_(self, factor: float) -> None:
        """Multiplies the rates by a factor for one update."""
        groups = [g for o in self._learner._named_optimizers.values() for g in o.param_groups]
        self._usual = [(group, group["lr"]) for group in groups] if factor != 1.0 else []
        for group, usual in self._usual:
            group["lr"] = usual * factor

    def lower_(self) -> None:
        """Undoes `raise_`, before schedules continue from the rates that they have set."""
        for group, usual in self._usual:
            group["lr"] = usual
        self._usual = []

    def use_configured_(self, env_steps: int) -> None:
        """Sets the optimizers' rates to the configured values at the lineage's clock.

        With torch's schedulers the configuration gives the rate at which they start. If that has
        changed, their present rates are scaled by the same factor.
        """
        for name, optimizer in self._learner._named_optimizers.items():
            schedule = self._learner._optimizer_lr_schedules.get(optimizer)
            if schedule is None:
                continue
            if self._learner._lr_scheduler_classes is None:
                self._learner._set_optimizer_lr(optimizer, lr=schedule.update(env_steps))
            else:
                self._rescale(name, optimizer)

    def _first_of(self, name: str) -> float | None:
        schedule = self._learner._optimizer_lr_schedules.get(self._learner._named_optimizers[name])
        return None if schedule is None else float(schedule.update(0))

    def _rescale(self, name: str, optimizer: Optimizer) -> None:
        before, now = self._based_on[name], self._first_of(name)
        self._based_on[name] = now
        if before == now or not before or now is None:
            return
        factor = now / before
        for group in optimizer.param_groups:
            for key in ("lr", "initial_lr"):
                if key in group:
                    group[key] *= factor
        for by_name in self._learner._lr_schedulers.values():
            for scheduler in (part for s in by_name.get(name, ()) for part in _parts(s)):
                for key in ("base_lrs", "_last_lr"):
                    if hasattr(scheduler, key):
                        setattr(scheduler, key, [rate * factor for rate in getattr(scheduler, key)])

    def _restart(self, module_id: str, name: str, saved: list[tuple[str, dict[str, Any]]]) -> None:
        """Builds torch's schedulers as RLlib would at the first step, and loads their saved state."""
        classes = self._learner._lr_scheduler_classes
        if isinstance(classes, dict):
            classes = classes.get(module_id)
        if classes is None:
            return
        optimizer = self._learner._named_optimizers[name]
        # A scheduler sets its first rate when it is built.
        groups = [dict(group) for group in optimizer.param_groups]
        schedulers = [scheduler_class(optimizer) for scheduler_class in classes]
        if [_kind(scheduler) for scheduler in schedulers] == [kind for kind, _ in saved]:
            for scheduler, (_, state) in zip(schedulers, saved, strict=True):
                scheduler.load_state_dict(copy.deepcopy(state))
            for group, before in zip(optimizer.param_groups, groups, strict=True):
                group.update(before)
        self._learner._lr_schedulers.setdefault(module_id, {})[name] = schedulers


def _kind(scheduler: Any) -> str:
    return f"{type(scheduler).__module__}.{type(scheduler).__qualname__}"


def _parts(scheduler: Any) -> Iterator[Any]:
    """Yields a scheduler and all schedulers that it consists of."""
    yield scheduler
    for part in getattr(scheduler, "_schedulers", ()):
        yield from _parts(part)
