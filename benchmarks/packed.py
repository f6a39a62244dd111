"""Env steps a second over all members, side by side: `make bench NAME=packed`.

RLlib's PPO, stable-baselines3's and packs of 1, 4, 16 and 64 members, each in a process of its own on
one and the same core, take turns. All train the same PPO: 8 environments a member, batches of 1,024
steps, 4 epochs in minibatches of 256, networks of 64-64 tanh for actor and critic, no KL penalty;
RLlib's and ours prune besides. Speeds are per second of CPU time, wall-clock beside them; a ratio is the
median over rounds of two engines' turns in the same round, with its 95 % bootstrap interval. Where a
pack's time goes is measured within its turns. Memory is the process's largest resident set.

Environments are part of what is compared: of CartPole, Acrobot and Pendulum a pack steps this project's
dynamics, all environments at once in NumPy, while RLlib and stable-baselines3 step Gymnasium's own, one
after the other. How much of a ratio is due to that is seen from a further pack of 16, "one by one": it
steps Gymnasium's own, too.

With `--module` RLlib and the packs train an RLModule of one's own, which packs stack by torch.func.vmap.

stable-baselines3 is no dependency: the first run installs it, with this project's versions of torch and
gymnasium, into an environment of its own under .venv.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from benchmarks.shared.intervals import median_ratio
from benchmarks.shared.one_by_one import ONE_BY_ONE
from benchmarks.shared.turns import Contender
from rllib_ext.envs.native.registry import native_of

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".venv" / "stable-baselines3"
RLLIB, SB3 = "rllib", "stable-baselines3"
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
# On CartPole: an engine, what it is held against, and the least ratio of their speeds.
TARGETS = (("packed P=16", RLLIB, 10.0), ("packed P=16", SB3, 5.0), ("packed P=1", RLLIB, 3.0))
MEGABYTES_A_MEMBER = 3.0
SINGLY, SINGLY_MEMBERS = "packed P=16, one by one", 16

Turns = dict[str, list[dict[str, Any]]]


def main() -> None:
    """Lets the engines take turns and prints the tables."""
    arguments = _arguments()
    commands = _commands(arguments)
    contenders = {}
    turns: Turns = {name: [] for name in commands}
    try:
        for name, command in commands.items():
            contenders[name] = Contender(name, command)
            # The first turn isn't counted: it loads code and fills caches.
            contenders[name].work(arguments.seconds)
        for i in range(arguments.rounds):
            names = list(contenders)
            first = i % len(names)
            for name in names[first:] + names[:first]:
                turns[name].append(contenders[name].work(arguments.seconds))
    finally:
        for contender in contenders.values():
            contender.stop()
    versions = [f"{n} {importlib.metadata.version(n)}" for n in ("torch", "ray", "gymnasium")]
    print(
        f"{arguments.env}, {arguments.rounds} rounds of {arguments.seconds:g} s each on one core; "
        f"{', '.join(versions)}, {platform.machine()}, Python {platform.python_version()}\n"
    )
    _print_speeds(turns)
    if SINGLY in turns:
        print(
            f"\npacks step {arguments.env} in NumPy, all environments at once; {SINGLY!r} and all "
            "others step Gymnasium's own"
        )
    _print_parts(turns)
    _print_targets(turns, arguments.env, own=bool(arguments.module))


def _commands(arguments: argparse.Namespace) -> dict[str, list[str]]:
    settings = json.dumps({**PPO, "module": arguments.module})
    ours = [sys.executable, "-m", "benchmarks.peers.ours", arguments.env, settings]
    commands = {RLLIB: [*ours, "0"]}
    # stable-baselines3 trains no module of RLlib's.
    python = _peer() if arguments.peer and not arguments.module else None
    if python is not None:
        module = "benchmarks.peers.stable_baselines3_ppo"
        commands[SB3] = [str(python), "-m", module, arguments.env, settings]
    commands |= {f"packed P={p}": [*ours, str(p)] for p in arguments.members}
    if native_of(lambda: gymnasium.make(arguments.env)) is not None:
        commands[SINGLY] = [*ours, str(SINGLY_MEMBERS), ONE_BY_ONE]
    return commands


def _peer() -> Path | None:
    """The Python that has stable-baselines3; None, and a line that says so, where there is none."""
    python = PEER / "bin" / "python"
    if not python.exists():
        venv.create(PEER, with_pip=True)
    if _runs([python, "-c", "import stable_baselines3"]):
        return python
    print(f"installing stable-baselines3 into {PEER} …", flush=True)
    wanted = ["stable-baselines3>=2.7", "torch>=2.9,<2.14"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    if _runs([python, "-m", "pip", "install", "--quiet", *constraints, *wanted]):
        return python
    print(f"stable-baselines3 can't be installed into {PEER}: it is left out.\n", flush=True)
    return None


def _runs(command: Sequence[str | Path]) -> bool:
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0


def _speeds(turns: Turns, name: str, clock: str) -> np.ndarray:
    return np.array([turn["steps"] / turn[clock] for turn in turns[name]])


def _print_speeds(turns: Turns) -> None:
    generator = np.random.default_rng(0)
    others = [name for name in (RLLIB, SB3) if name in turns]
    print(f"{'engine':<25}{'steps/CPU s':>12}{'steps/s':>10}{'MB':>7}", end="")
    print("".join(f"{f'÷ {name}':>28}" for name in others))
    for name in turns:
        cpu, wall = (np.median(_speeds(turns, name, clock)) for clock in ("cpu", "wall"))
        print(f"{name:<25}{cpu:>12,.0f}{wall:>10,.0f}{_megabytes(turns, name):>7.0f}", end="")
        for other in others:
            cell = ""
            if other != name:
                one, two = (_speeds(turns, n, "cpu") for n in (name, other))
                middle, low, high = median_ratio(one, two, generator)
                cell = f"{middle:.2f} ({low:.2f} – {high:.2f})"
            print(f"{cell:>28}", end="")
        print()


def _print_parts(turns: Turns) -> None:
    print(f"\n{'where its time goes':<25}{'environment':>12}{'forward':>10}{'update':>10}", end="")
    print(f"{'rest':>8}{'env alone, steps/CPU s':>26}{'÷ packed':>10}")
    for name in _packs(turns):
        shares = np.median([turn["shares"] for turn in turns[name]], axis=0)
        alone = float(np.median([turn["env_alone"] for turn in turns[name]]))
        ratio = alone / float(np.median(_speeds(turns, name, "cpu")))
        cells = "".join(f"{s:>{w}.0%}" for s, w in zip(shares, (12, 10, 10, 8), strict=True))
        print(f"{name:<25}{cells}{alone:>26,.0f}{ratio:>10.1f}")


def _print_targets(turns: Turns, env: str, *, own: bool) -> None:
    generator = np.random.default_rng(0)
    print()
    packs = [name for name in _packs(turns) if name != SINGLY]
    if len(packs) > 1:
        first, last = packs[0], packs[-1]
        grown = _megabytes(turns, last) - _megabytes(turns, first)
        more = grown / (_members(last) - _members(first))
        verdict = "within" if more <= MEGABYTES_A_MEMBER else "NOT within"
        print(f"a further member: {more:.2f} MB, {verdict} {MEGABYTES_A_MEMBER:g} MB")
    if env != "CartPole-v1" or own:
        return
    for name, other, least in TARGETS:
        if name in turns and other in turns:
            one, two = (_speeds(turns, n, "cpu") for n in (name, other))
            ratio = median_ratio(one, two, generator)[0]
            verdict = "reached" if ratio >= least else "NOT reached"
            line = f"{name} ÷ {other}: {ratio:.1f}, target {least:g} {verdict}"
            if SINGLY in turns and _members(name) == SINGLY_MEMBERS:
                own = median_ratio(_speeds(turns, SINGLY, "cpu"), two, generator)[0]
                line += f"; with Gymnasium's own environments {own:.1f}"
            print(line)


def _packs(turns: Turns) -> list[str]:
    return [name for name in turns if name.startswith("packed")]


def _members(name: str) -> int:
    return int(name.partition("=")[2])


def _megabytes(turns: Turns, name: str) -> float:
    return float(turns[name][-1]["megabytes"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.packed", description=__doc__)
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each engine (default 9)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn (default 5)")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument(
        "--no-peer", dest="peer", action="store_false", help="leave stable-baselines3 out"
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
