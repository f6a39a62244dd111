"""The resources of a search's machines, and whether members or packs fit on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from ray.tune import PlacementGroupFactory

from rllib_ext.pruning.errors import ConfigError
from search.cluster.placement import placed_at_once
from search.cluster.ray_private import get_num_cpus

Machine = Mapping[str, float]
_SHOWN = ("CPU", "GPU")


def this_machine() -> Machine:
    """Returns the resources of this machine, as Ray counts them."""
    gpus = torch.cuda.device_count()
    return {"CPU": float(get_num_cpus(True)), **({"GPU": float(gpus)} if gpus else {})}


def slots_on(machines: Sequence[Machine], needed: PlacementGroupFactory, unit: str) -> int:
    """Returns how many members or packs can train at once.

    Args:
        machines: Resources of each machine.
        needed: By one of them.
        unit: Name of the unit in messages, "member" or "pack".

    Raises:
        ConfigError: Not even one fits: all machines together offer too little, or its processes don't
            fit on single ones.
    """
    fit = placed_at_once(machines, needed.bundles, needed.strategy)
    if fit:
        return fit
    total = {name: sum(m.get(name, 0.0) for m in machines) for m in machines for name in m}
    asked = f"a {unit} takes {amounts(needed.required_resources)}"
    if all(total.get(n, 0.0) >= a - 1e-9 for n, a in needed.required_resources.items()):
        unplaced = [
            process for process in needed.bundles if not placed_at_once(machines, [process])
        ]
        if unplaced:
            asked = f"a process of a {unit} takes {amounts(unplaced[0])}"
        else:
            asked += f" in processes of {' and '.join(map(amounts, needed.bundles))}"
    missing = [n for n in needed.required_resources if n not in total and n != "CPU"]
    mend = (
        "Lower resources.cpus_per_member or resources.gpus_per_member, the number of EnvRunners "
        "(ppo.env_runners) or Learners (ppo.learners)"
    )
    if missing == ["GPU"]:
        mend = "Leave resources.gpus_per_member (or ppo.learners.num_gpus_per_learner) at 0"
    where = "this cluster has" if len(machines) > 1 else "the machine has"
    raise ConfigError(
        f"{asked}, but {where} {offered(machines)}. {mend}; or use a larger cluster (`prunefront "
        "submit`, or `search --address` on one of its machines)."
    )


def amounts(resources: Mapping[str, float]) -> str:
    """Resources for a person: "2 CPU, 0.5 GPU"."""
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(resources.items()) if amount)


def offered(machines: Sequence[Machine]) -> str:
    """Returns a readable sum of the machines' resources."""
    total = {name: sum(m.get(name, 0.0) for m in machines) for name in _SHOWN}
    gpus = f"{total['GPU']:g}" if total["GPU"] else "no"
    text = f"{total['CPU']:g} CPU and {gpus} GPU"
    return f"{len(machines)} machines with {text}" if len(machines) > 1 else text
