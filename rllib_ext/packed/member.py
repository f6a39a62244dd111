"""The per-member state of a pack."""

from __future__ import annotations

import dataclasses
from typing import Any

from rllib_ext.packed.hyperparameters import Hyperparameters


@dataclasses.dataclass(kw_only=True)
class Member:
    """A member in training, without its stacked tensors.

    Attributes:
        hyperparameters: The member's own.
        kl_coeff: Current coefficient of the KL divergence.
        env_steps: The clock of the member's lineage.
        iteration: Training iterations of its lineage.
        failure: Why it trains no more; "" while it is whole.
        filter: State of its observation filter at the end of the last iteration, with which its policy
            has been evaluated since; None before the first.
    """

    hyperparameters: Hyperparameters
    kl_coeff: float
    env_steps: int = 0
    iteration: int = 0
    failure: str = ""
    filter: dict[Any, Any] | None = None
