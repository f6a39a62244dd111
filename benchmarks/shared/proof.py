"""Validates that a peer written for a benchmark does the work that it is measured for.

Only Python's own library is imported here, so that a peer's environment can run it too.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

# Prefix of the line with the proof; libraries may print other lines.
PROOF = "proof "
# Least mean return required; on other environments the return is only reported.
SOLVED = {"CartPole-v1": 450.0}
ROUNDING = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proof:
    """Results of the checks of the PPO in JAX (`benchmarks.peers.jax_proof`).

    Attributes:
        env: Id of the environment that it was trained on.
        env_steps: Env steps of each member.
        returns: Mean return of each member's deterministic policy in Gymnasium's own environment.
        adam_steps: Number of steps that each member has taken, as Adam counts them.
        expected_adam_steps: Iterations × epochs × minibatches.
        advantages_off: Largest difference to advantages by their definition, as a share of the largest.
        weights_off: Largest difference to weights that torch has stepped, in learning rates.
    """

    env: str
    env_steps: int
    returns: Sequence[float]
    adam_steps: int
    expected_adam_steps: int
    advantages_off: float
    weights_off: float

    def as_line(self) -> str:
        """Returns the proof as a line for `proof_in`."""
        return PROOF + json.dumps(dataclasses.asdict(self))

    def failures(self) -> list[str]:
        """Lists the checks that failed; empty if all passed."""
        found = []
        mean, least = sum(self.returns) / len(self.returns), SOLVED.get(self.env)
        # Written so that NaN fails.
        if least is not None and not mean >= least:
            found.append(f"a mean return of {mean:.0f}, expected {least:.0f} or more")
        if self.adam_steps != self.expected_adam_steps:
            found.append(f"{self.adam_steps} Adam steps, expected {self.expected_adam_steps}")
        if not self.advantages_off <= ROUNDING:
            found.append(f"advantages that are {self.advantages_off:.1e} off")
        if not self.weights_off <= 10 * ROUNDING:
            found.append(
                f"Adam steps that are {self.weights_off:.1e} of a learning rate off torch's"
            )
        return found

    def told(self) -> str:
        """Summarises the proof in a sentence or two."""
        returns = f"{min(self.returns):.0f} to {max(self.returns):.0f}"
        mean = sum(self.returns) / len(self.returns)
        text = (
            f"the PPO in JAX: {len(self.returns)} members trained for {self.env_steps:,} env steps each "
            f"return {mean:.0f} in Gymnasium's {self.env} ({returns}); {self.adam_steps} Adam steps a "
            f"member, which is epochs × minibatches in each iteration; advantages within "
            f"{self.advantages_off:.0e} of their definition, Adam steps within {self.weights_off:.0e} "
            "learning rates of torch's"
        )
        if failures := self.failures():
            return f"{text}\nNOT a peer to compare with: {'; '.join(failures)}"
        return text


def proof_in(output: str) -> Proof | None:
    """Returns the proof that a process printed, or None if it printed none.

    Args:
        output: Everything that it printed.
    """
    for line in output.splitlines():
        if line.startswith(PROOF):
            return Proof(**json.loads(line.removeprefix(PROOF)))
    return None
