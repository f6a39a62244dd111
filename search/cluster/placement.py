"""Counts how many placement groups fit on machines at once; no process spans two machines.

As Ray places it: the processes of one member, or pack, lie together where one machine holds them all,
and are spread otherwise; a share of a GPU is a share of one GPU, and several GPUs are whole ones.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

# Ray counts in ten-thousandths, which add up exactly.
_UNITS = 10_000
_GPU = "GPU"

Resources = Mapping[str, float]


def placed_at_once(
    machines: Sequence[Resources], processes: Sequence[Resources], strategy: str = "PACK"
) -> int:
    """Returns how many placement groups run at once.

    Args:
        machines: Resources of each machine.
        processes: Resources of each process of a group.
        strategy: Ray's placement strategy: "PACK", "SPREAD", "STRICT_PACK" or "STRICT_SPREAD".

    Returns:
        A count; 0 where not even one can be placed, or it takes nothing.
    """
    wanted = [{n: _units(a) for n, a in process.items() if a > 0} for process in processes]
    # What is hard to place goes first.
    wanted = sorted((w for w in wanted if w), key=lambda w: sorted(w.values()), reverse=True)
    rooms = [_Room(machine) for machine in machines]
    count = 0
    while wanted and _place(rooms, wanted, strategy):
        count += 1
    return count


class _Room:
    """The free resources of a machine."""

    def __init__(self, machine: Resources) -> None:
        self.left = {name: _units(amount) for name, amount in machine.items() if name != _GPU}
        self.gpus = [_UNITS] * int(machine.get(_GPU, 0))

    def take(self, wanted: Mapping[str, int]) -> bool:
        """Takes what a process needs, or nothing."""
        others = {name: amount for name, amount in wanted.items() if name != _GPU}
        if any(self.left.get(name, 0) < amount for name, amount in others.items()):
            return False
        if not self._take_gpus(wanted.get(_GPU, 0)):
            return False
        for name, amount in others.items():
            self.left[name] -= amount
        return True

    def _take_gpus(self, amount: int) -> bool:
        if amount >= _UNITS:
            free = [i for i, left in enumerate(self.gpus) if left == _UNITS]
            chosen = free[: -(-amount // _UNITS)]
            if len(chosen) * _UNITS < amount:
                return False
            for i in chosen:
                self.gpus[i] = 0
        elif amount:
            # The fullest: whole ones stay for who needs them.
            enough = [i for i, left in enumerate(self.gpus) if left >= amount]
            if not enough:
                return False
            self.gpus[min(enough, key=lambda i: self.gpus[i])] -= amount
        return True


def _place(rooms: list[_Room], wanted: Sequence[Mapping[str, int]], strategy: str) -> bool:
    """Places all processes of one, or none."""
    if len(wanted) == 1:
        return any(room.take(wanted[0]) for room in rooms)
    if not strategy.endswith("SPREAD"):
        for i, room in enumerate(rooms):
            trial = copy.deepcopy(room)
            if all(trial.take(process) for process in wanted):
                rooms[i] = trial
                return True
    if strategy == "STRICT_PACK":
        return False
    changed: dict[int, _Room] = {}
    for process in wanted:
        at = _first_that_holds(rooms, changed, process, apart=strategy == "STRICT_SPREAD")
        if at is None:
            return False
        changed[at[0]] = at[1]
    for i, room in changed.items():
        rooms[i] = room
    return True


def _first_that_holds(
    rooms: Sequence[_Room], changed: Mapping[int, _Room], process: Mapping[str, int], *, apart: bool
) -> tuple[int, _Room] | None:
    for i, room in enumerate(rooms):
        if apart and i in changed:
            continue
        trial = copy.deepcopy(changed.get(i, room))
        if trial.take(process):
            return i, trial
    return None


def _units(amount: float) -> int:
    return round(amount * _UNITS)
