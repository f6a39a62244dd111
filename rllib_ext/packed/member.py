"""What a member of a pack has for itself."""

from __future__ import annotations

import dataclasses
from typing import Any

from rllib_ext.packed.hyperparameters import Hyperparameters


@dataclasses.dataclass(kw_only=True)
class Member:
    """A member in training, apart from what is stacked.

    Attributes:
        hyperparameters: The member's own.
        kl_coeff: What the weight of the divergence has come to.
        env_steps: The clock of the member's lineage.
        iteration: Training iterations of its lineage.
        failure: Why it trains no more; "" while it is whole.
        filter: What its observation filter had seen when the last iteration ended, which is what its
            policy was evaluated with since; None before the first.
    """

    hyperparameters: Hyperparameters
    kl_coeff: float
    env_steps: int = 0
    iteration: int = 0
    failure: str = ""
    filter: dict[Any, Any] | None = None
