"""All that a member is, to copy onto another or to keep on disk."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rllib_ext.base.aside import write_aside
from rllib_ext.checkpoint.reading import UNREADABLE
from rllib_ext.packed.adam import StackedAdam
from rllib_ext.packed.network import StackedNetwork
from rllib_ext.pruning.errors import CheckpointError

STATE = "member.pkl"
# What is laid out like the weights.
STACKED = ("weights", "first", "second")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemberState:
    """A copy of a member, but for its hyperparameters and its environments.

    Attributes:
        weights: Parameters by RLlib's names, on the CPU.
        first: Adam's running means of gradients, by the same names.
        second: Adam's running means of squared gradients.
        steps: Steps that Adam has taken.
        pruning: The Pruner's state: masks, schedule, clock, statistics, accepted state.
        kl_coeff: Current coefficient of the KL divergence.
        iteration: Training iterations of the lineage.
        filter: The observation filter's statistics; {} without one.
        rewards: Those by which rewards are scaled; {} where they aren't.
    """

    weights: dict[str, Tensor]
    first: dict[str, Tensor]
    second: dict[str, Tensor]
    steps: float
    pruning: dict[str, Any]
    kl_coeff: float
    iteration: int
    filter: dict[Any, Any]
    rewards: dict[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def take(
        cls, network: StackedNetwork, adam: StackedAdam, member: int, **rest: Any
    ) -> MemberState:
        """Copies a member's rows.

        Args:
            network: The members.
            adam: Their moments.
            member: Which.
            **rest: What isn't stacked.
        """

        def copied(rows: Tensor) -> dict[str, Tensor]:
            row = rows[member].detach().cpu()
            return {name: network.part(row, name).clone() for name in network.slots}

        return cls(
            weights=copied(network.weights),
            first=copied(adam.first),
            second=copied(adam.second),
            steps=float(adam.steps[member]),
            **rest,
        )

    @torch.no_grad()
    def put_into(self, network: StackedNetwork, adam: StackedAdam, member: int) -> None:
        """Writes the rows of a member.

        Raises:
            CheckpointError: The state is another network's.
        """
        shapes = {name: slot.shape for name, slot in network.slots.items()}
        if {name: value.shape for name, value in self.weights.items()} != shapes:
            raise CheckpointError(
                f"the state is of a network with {sorted(self.weights)}; expected the layers and sizes "
                f"of {sorted(shapes)}. Start from a state of the same model configuration."
            )
        for rows, values in (
            (network.weights, self.weights),
            (adam.first, self.first),
            (adam.second, self.second),
        ):
            for name, value in values.items():
                network.part(rows[member], name).copy_(value)
        adam.steps[member] = self.steps

    def save(self, folder: Path) -> None:
        """Writes the state into a folder, aside, then renamed; replaced when it exists."""
        folder.mkdir(parents=True, exist_ok=True)
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for stacked in STACKED:
            # Arrays are pickled several times faster than tensors.
            values[stacked] = {name: value.numpy() for name, value in values[stacked].items()}
        content = pickle.dumps(values, protocol=pickle.HIGHEST_PROTOCOL)
        # One a member and segment: whatever a crash of the machine takes is trained again.
        write_aside(folder / STATE, lambda aside: aside.write_bytes(content), sync=False)

    @classmethod
    def load(cls, folder: Path) -> MemberState:
        """Reads what `save` wrote. A pickle: runs code from the results folder.

        Raises:
            CheckpointError: There is none, or it is damaged.
        """
        try:
            values = pickle.loads((folder / STATE).read_bytes())
            for stacked in STACKED:
                arrays = values[stacked]
                values[stacked] = {name: torch.from_numpy(a) for name, a in arrays.items()}
            return cls(**values)
        except UNREADABLE as error:
            raise CheckpointError(
                f"{folder} holds no member's training state ({error}). Expected a folder under states/ "
                "that a pack wrote."
            ) from error
