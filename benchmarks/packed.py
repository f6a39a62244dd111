"""Compares env steps per second over all members with other PPOs: `make bench NAME=packed`.

Packs of 1, 4, 16 and 64 members take turns, on the same single core, with RLlib's PPO,
stable-baselines3's, that of sbx, its twin in JAX, and a PPO in JAX with as many members under jax.vmap
(`benchmarks.peers.jax_ppo`), each in a process of its own. All train the same PPO: 8 environments per
member, batches of 1,024 steps, 4 epochs in minibatches of 256, networks of 64-64 tanh for actor and
critic, no KL penalty; the number of Adam steps that each takes for a batch is read off its optimizer.
RLlib's and ours also prune. Speeds are per second of CPU time with their quartiles, with wall-clock
speeds beside them; a ratio is the median over rounds of two engines' turns in the same round, with its
95 % bootstrap interval. An engine's first iteration, in which JAX compiles, and its whole first turn are
not counted; the time of the first iteration is a column. The parts of a pack's time are measured within
its turns. Memory is the process's largest resident set.

Environments are part of the comparison. A pack steps this project's own CartPole, Acrobot and Pendulum,
all at once in NumPy, and others in EnvPool if that has them. The PPO in JAX steps those of gymnax,
compiled with everything else; gymnax has no LunarLander and no MuJoCo. RLlib, stable-baselines3 and sbx
step Gymnasium's own, one after the other. A further pack of 16, "one by one", also steps Gymnasium's
own, which shows how much of a ratio is due to the environments.

The PPO in JAX is this project's, so each run validates it: 16 members must learn CartPole within 200,000
env steps each, with all their Adam steps, and its arithmetic is compared with NumPy's and torch's.

With `--module` RLlib and the packs train a user's own RLModule, which packs stack by torch.func.vmap.

Peers are not dependencies: the first run installs them into an environment of their own, .venv/peers,
from benchmarks/peers/requirements.txt; `--peers PYTHON` selects another one. A peer that doesn't run is
left out, and the reason is printed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np

from benchmarks.shared.one_by_one import ONE_BY_ONE
from benchmarks.shared.packed_tables import (
    JAX,
    PACKED,
    RLLIB,
    SB3,
    SBX,
    members_of,
    packs_of,
    parts_table,
    ratio,
    ratio_table,
    speed_table,
)
from benchmarks.shared.peer_environment import PeersError, peers_python
from benchmarks.shared.proof import proof_in
from benchmarks.shared.turns import Turns, in_turns, one_thread
from rllib_ext.packed.vectorize import vectorize_of

PPO = {
    "envs": 8,
    "batch": 1024,
    "minibatch": 256,
    "epochs": 4,
    "lr": 1e-3,
    "gamma": 0.99,
    "lambda": 0.95,
    "clip": 0.2,
    "entropy": 0.0,
    "value": 0.5,
    "grad_clip": 0.5,
    "hidden": [64, 64],
}
BATCH = 1024
# On CartPole: an engine, the one it is compared with, and the least ratio of their speeds.
TARGETS = (("packed P=16", RLLIB, 10.0), ("packed P=16", SB3, 5.0), ("packed P=1", RLLIB, 3.0))
MEGABYTES_A_MEMBER = 3.0
SINGLY = f"{PACKED}16, one by one"
# Env steps that each member of the PPO in JAX is trained for before its policy is played.
PROOF_STEPS = 200_000


def main() -> None:
    """Lets the engines take turns and prints the tables."""
    arguments = _arguments()
    try:
        # The peers can't train RLModules.
        wanted = arguments.use_peers and not arguments.module
        python = peers_python(arguments.peers) if wanted else None
    except PeersError as error:
        raise SystemExit(str(error)) from None
    ours, peers = _ours(arguments), _peers(arguments, python)
    turns, left_out = in_turns(ours, peers, arguments.rounds, arguments.seconds)
    versions = [f"{n} {importlib.metadata.version(n)}" for n in ("torch", "ray", "gymnasium")]
    print(
        f"{arguments.env}, {arguments.rounds} rounds of {arguments.seconds:g} s each on one core; "
        f"{', '.join(versions)}, {platform.machine()}, Python {platform.python_version()}\n"
    )
    for reason in dict.fromkeys(left_out.values()):
        names = [name for name, why in left_out.items() if why == reason]
        print(f"left out: {', '.join(names)}: {reason}")
    print(speed_table(turns, BATCH))
    print(f"\n{ratio_table(turns)}")
    if SINGLY in turns:
        print(f"{SINGLY!r} steps Gymnasium's own {arguments.env}, as rllib does")
    print(f"\n{parts_table(turns)}\n")
    _print_targets(turns, arguments.env, own=bool(arguments.module))
    if python is not None and any(name.startswith(JAX) for name in turns):
        _print_proof(python, arguments)


def _ours(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Returns, by name, the commands that start the engines that must run."""
    settings = json.dumps({**PPO, "module": arguments.module})
    start = [sys.executable, "-m", "benchmarks.peers.ours", arguments.env, settings]
    found = {RLLIB: [*start, "0"]}
    found |= {f"{PACKED}{p}": [*start, str(p)] for p in arguments.members}
    if vectorize_of("auto", lambda: gymnasium.make(arguments.env)) != "sync":
        found[SINGLY] = [*start, str(members_of(SINGLY)), ONE_BY_ONE]
    return found


def _peers(arguments: argparse.Namespace, python: Path | None) -> dict[str, list[str]]:
    """Returns, by name, the commands that start the engines of other projects and in JAX."""
    if python is None:
        return {}
    settings = json.dumps(PPO)

    def command(module: str, *more: str) -> list[str]:
        return [str(python), "-m", f"benchmarks.peers.{module}", arguments.env, settings, *more]

    found = {SB3: command("stable_baselines3_ppo"), SBX: command("sbx_ppo")}
    return found | {f"{JAX}{p}": command("jax_pack", str(p)) for p in arguments.members}


def _print_targets(turns: Turns, env: str, *, own: bool) -> None:
    packs = [name for name in packs_of(turns) if name != SINGLY]
    if len(packs) > 1:
        first, last = packs[0], packs[-1]
        grown = turns[last][-1]["megabytes"] - turns[first][-1]["megabytes"]
        more = grown / (members_of(last) - members_of(first))
        verdict = "within" if more <= MEGABYTES_A_MEMBER else "NOT within"
        print(f"a further member: {more:.2f} MB, {verdict} {MEGABYTES_A_MEMBER:g} MB")
    if env != "CartPole-v1" or own:
        return
    generator = np.random.default_rng(0)
    for name, other, least in TARGETS:
        if name in turns and other in turns:
            reached = ratio(turns, name, other, generator)[0]
            verdict = "reached" if reached >= least else "NOT reached"
            line = f"{name} ÷ {other}: {reached:.1f}, target {least:g} {verdict}"
            if SINGLY in turns and members_of(name) == members_of(SINGLY):
                singly = ratio(turns, SINGLY, other, generator)[0]
                line += f"; with Gymnasium's own environments {singly:.1f}"
            print(line)


def _print_proof(python: Path, arguments: argparse.Namespace) -> None:
    """Prints whether the PPO in JAX is a valid peer; exits with status 1 if it isn't."""
    if not arguments.proof:
        print("the PPO in JAX was not proved in this run (--proof 0)")
        return
    details = [arguments.env, json.dumps(PPO), str(arguments.proof), str(PROOF_STEPS)]
    command = [str(python), "-m", "benchmarks.peers.jax_proof", *details]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=one_thread())
    proof = proof_in(done.stdout)
    if proof is None:
        raise SystemExit(f"the PPO in JAX could not be proved:\n{done.stderr}")
    print(proof.told())
    if proof.failures():
        raise SystemExit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.packed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each engine (default 9)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn (default 5)")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument(
        "--peers", metavar="PYTHON", default="", help="of an environment that has the peers"
    )
    parser.add_argument(
        "--no-peers", dest="use_peers", action="store_false", help="nothing but RLlib and packs"
    )
    parser.add_argument(
        "--proof",
        type=int,
        default=16,
        metavar="MEMBERS",
        help="of the PPO in JAX, that must learn (default 16; 0: none)",
    )
    parser.add_argument(
        "--module",
        default="",
        help="an RLModule that RLlib and packs train in place of RLlib's own, as package.module:Class "
        "(benchmarks.shared.own_networks:LayerNorms)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
