"""Trains P members of the PPO in JAX in turns, in an environment of their own (benchmarks/packed.py).

Usage: python -m benchmarks.peers.jax_pack ENV SETTINGS MEMBERS, with SETTINGS as JSON.
"""

from __future__ import annotations

import json
import sys

import gymnax
import jax
import optax

from benchmarks.peers.jax_ppo import PPO, Member, settings_of
from benchmarks.shared.turns import stay_on_one_core, take_turns


class JaxPack:
    """Members that are stepped and trained together, compiled into one function.

    Args:
        env: The id of an environment with discrete actions that gymnax has.
        ppo: `benchmarks.packed.PPO`.
        members: Number of members.
    """

    def __init__(self, env: str, ppo: dict[str, object], members: int) -> None:
        if env not in gymnax.registered_envs:
            raise SystemExit(f"gymnax has no {env}")
        made, parameters = gymnax.make(env)
        if not hasattr(made.action_space(parameters), "n"):
            raise SystemExit(f"the PPO in JAX draws discrete actions only; {env} has others")
        self._settings = settings_of(ppo)
        one = PPO(made, self._settings)
        keys = jax.random.split(jax.random.key(0), members)
        self.members: Member = jax.jit(jax.vmap(one.start))(keys)
        self._train = jax.jit(jax.vmap(one.train), donate_argnums=0)
        self._size = members * self._settings.batch

    def train(self) -> int:
        """Trains all members for an iteration; returns the env steps of all of them together."""
        self.members, ended = self._train(self.members)
        # JAX computes asynchronously: wait until the result is there.
        jax.block_until_ready((self.members, ended))
        return self._size

    def adam_steps(self) -> int:
        """Returns the number of steps that each member has taken, as Adam itself counts them."""
        counts = optax.tree_utils.tree_get(self.members.moments, "count")
        return int(counts[0])


def main() -> None:
    """Builds the members, and waits for their turns."""
    stay_on_one_core()
    pack = JaxPack(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]))
    take_turns(pack.train, pack.adam_steps)


if __name__ == "__main__":
    main()
