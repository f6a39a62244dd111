"""Exports a policy: written aside, verified, measured, described, and only then given its name."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from torch import Tensor

from rllib_ext.envs.env_maker import env_maker, env_name
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.export.actor import Actor
from rllib_ext.export.c_run import compiler, self_test
from rllib_ext.export.c_text import FLOAT, Numbers
from rllib_ext.export.contract import (
    about,
    metadata,
    return_interval,
    spaces_of,
)
from rllib_ext.export.errors import ExportError
from rllib_ext.export.forms import FORMATS, Choice, Written, read, run_form, write_form
from rllib_ext.export.held_against import HeldAgainst
from rllib_ext.export.loading import CONTRACT
from rllib_ext.export.measure import (
    CORTEX_M4,
    c_latency,
    object_size,
    ram_of,
    run_latency,
)
from rllib_ext.export.numpy_loader import Policy, load
from rllib_ext.export.operations import Array
from rllib_ext.export.place import placed, refuse_replacing
from rllib_ext.export.program import Program
from rllib_ext.export.quantise import with_int8_weights
from rllib_ext.export.source import Source, source_of
from rllib_ext.export.storage import described, nodes_of
from rllib_ext.export.torch_run import one_torch_thread
from rllib_ext.export.verify import (
    OBSERVATIONS,
    Recording,
    record,
)
from rllib_ext.policy.fitting import refuse_other_spaces
from rllib_ext.policy.store import PolicyParts

EPISODES = 20
# Decisions in the self-test of C, and how many numbers of observations it holds at most.
_VECTORS, _NUMBERS = 16, 20_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of an export.

    Attributes:
        formats: Any of `FORMATS`.
        name: Prefix of all that is visible in C.
        numbers: Number format of C.
        stochastic: Whether actions are drawn, from noise that is given.
        episodes: In closed loop, ≥ 2.
        observations: In open loop, at least.
        seed: First seed of the episodes.
        measure: Whether latencies are taken.
    """

    formats: tuple[str, ...] = FORMATS
    name: str = "policy"
    numbers: Numbers = FLOAT
    stochastic: bool = False
    episodes: int = EPISODES
    observations: int = OBSERVATIONS
    seed: int = 1_000_000
    measure: bool = True


def export_policy(
    parts: PolicyParts,
    masks: Mapping[str, Tensor],
    config: AlgorithmConfig,
    output: Path,
    options: Options,
    *,
    known: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, dict[str, Any]]:
    """Exports a policy in one form or several, each in a folder of its own.

    Args:
        parts: The policy's parts, with all of its weights.
        masks: By parameter name, True = keep; empty where nothing was pruned.
        config: PPO configuration that names the environment.
        output: Folder for one subfolder per form; an existing export of that name is replaced.
        options: How.
        known: Facts about the policy for `policy.json`, such as "source" and "return".
        say: Callback for progress messages.

    Returns:
        What each form's `policy.json` says.

    Raises:
        ConfigError: The environment has other spaces than the policy.
        ExportError: A part of the policy can't be exported, there is no compiler, or what is no export
            has a form's name in `output`.
        MismatchError: An export does something else than the policy.
    """
    for kind in options.formats:
        refuse_replacing(output / kind)
    source = source_of(parts, masks, stochastic=options.stochastic)
    refuse_other_spaces(parts.env_to_module, env_maker(config), env_name(config))
    evaluator = Evaluator(env_maker(config))
    try:
        say("playing the policy in RLlib")
        seeds = list(range(options.seed, options.seed + options.episodes))
        recording = record(parts, evaluator, seeds, options.observations)
        work = _Work(source, options, evaluator, recording, seeds, env_name(config))
        found = {}
        for kind in options.formats:
            say(f"writing and verifying {kind}")
            with placed(output / kind) as folder:
                found[kind] = work.form(folder, kind, dict(known or {}))
        return found
    finally:
        evaluator.close()


class _Work:
    """One policy on its way into several forms."""

    def __init__(
        self,
        source: Source,
        options: Options,
        evaluator: Evaluator,
        recording: Recording,
        seeds: list[int],
        env: str,
    ) -> None:
        self._source = source
        self._options = options
        self._recording = recording
        self._env = env
        self._held = HeldAgainst(source.parts, evaluator, recording, seeds, options.stochastic)

    def form(self, folder: Path, kind: str, known: dict[str, Any]) -> dict[str, Any]:
        """Writes one form into a folder, holds it against the policy and describes it."""
        numbers = self._options.numbers if kind == "c" else Numbers()
        program = self._source.program
        if numbers.int8:
            program = with_int8_weights(program)
        observed = self._observed(program)
        contract = self._contract(kind, program, known)
        choice = Choice(
            format=kind,
            name=self._options.name,
            numbers=numbers,
            about=about(contract, int8=numbers.int8),
            metadata=metadata(contract),
        )
        written = write_form(folder, program, choice, self._vectors(program, observed))
        contract["form"] = {"format": kind, "main": written.main, **written.facts}
        if kind == "c" and compiler() is None:
            contract["verified"] = {}
            contract["not_verified"].insert(0, "anything: there was no C compiler on this machine")
        else:
            policy = self._loaded(folder, contract)
            contract["verified"] = self._held.verified(policy, numbers)
            if kind == "c":
                contract["verified"]["self_test"] = self_test(folder / written.main)
            self._weigh(folder, program, numbers, written, contract, policy, observed)
        names = sorted(p.name for p in folder.iterdir())
        contract["files"] = {
            name: {
                "bytes": (folder / name).stat().st_size,
                "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            }
            for name in names
        }
        text = json.dumps(contract, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / CONTRACT).write_text(text, encoding="utf-8")
        return contract

    def _loaded(self, folder: Path, contract: Mapping[str, Any]) -> Policy:
        """Loads the written export."""
        program = read(folder)
        run = run_form(folder, program, contract["form"])
        if run is not None:
            return Policy(described(program), run)
        return load(folder / str(contract["form"]["main"]))

    def _contract(self, kind: str, program: Program, known: dict[str, Any]) -> dict[str, Any]:
        source = self._source
        parts = source.parts
        return {
            "prunefront": importlib.metadata.version("prunefront"),
            "environment": self._env,
            **spaces_of(
                parts.env_to_module.input_observation_space, parts.module.action_space, program
            ),
            "units": f"those of {self._env}; RLlib knows none",
            "stochastic": self._options.stochastic,
            "preprocessing": list(program.notes),
            "return": self._returns(known.pop("return", None)),
            **known,
            "size": {
                "weights": program.weights,
                "multiply_accumulates": program.macs,
                "dense_weights": source.dense.parameters,
                "dense_multiply_accumulates": source.dense.dense_macs,
                "critic": "left out",
                **({"not_shrunk": source.unshrunk} if source.unshrunk else {}),
            },
            "not_verified": [
                "other environments, or this one under changed conditions",
                "observations that hold a NaN"
                + (": in C, tanh in float makes −1 or 1 of it" if kind == "c" else ""),
                "the chip it will run on: run the self-test there"
                if kind == "c"
                else "other versions of the libraries that run it",
            ],
        }

    def _returns(self, front: Any) -> dict[str, Any]:
        found: dict[str, Any] = {"verification": return_interval(self._recording.episodes)}
        return {**found, "front": front} if front else found

    def _observed(self, program: Program) -> list[dict[str, Array]]:
        """Returns the inputs of each decision: observations, and noise if actions are drawn."""
        actor = Actor(Policy(described(program), lambda feeds: {}))
        actor.begin(range(1))
        found: list[dict[str, Array]] = []
        for observation in (o for episode in self._recording.observations for o in episode):
            found.append(actor.feeds([0], [observation]))
            if len(found) == 512:
                break
        names = [g.name for g in program.given]
        return [{name: feeds[name][0] for name in names} for feeds in found]

    def _vectors(
        self, program: Program, observed: list[dict[str, Array]]
    ) -> list[dict[str, Array]]:
        """Decisions in a row, by numpy, for the self-test of C."""
        policy = Policy(described(program), nodes=nodes_of(program))
        state = policy.initial(1)
        numbers = sum(np.size(value) for value in observed[0].values())
        vectors = []
        for feeds in observed[: min(_VECTORS, max(2, _NUMBERS // numbers))]:
            batch = {name: value[None] for name, value in feeds.items()}
            found = policy.run({**batch, **state})
            state = {name: found.pop(name) for name in state}
            vectors.append({**feeds, **{name: value[0] for name, value in found.items()}})
        return vectors

    def _weigh(
        self,
        folder: Path,
        program: Program,
        numbers: Numbers,
        written: Written,
        contract: dict[str, Any],
        policy: Policy,
        observed: list[dict[str, Array]],
    ) -> None:
        size = contract["size"]
        main = folder / written.main
        size["file_bytes"] = main.stat().st_size
        if main.suffix == ".c":
            size["ram_bytes"] = ram_of(program, numbers, written.facts["stack_bytes"])
            for chip, options, prefix in (
                ("this machine", (), ""),
                ("Cortex-M4", CORTEX_M4, "arm-none-eabi-"),
            ):
                try:
                    size.setdefault("object", {})[chip] = object_size(main, *options, prefix=prefix)
                except ExportError:
                    continue
        if not self._options.measure:
            return
        if main.suffix == ".c":
            found = c_latency(program, numbers, main, observed)
        else:
            with one_torch_thread():
                found = run_latency(policy.run, program, observed)
        contract["latency"] = {
            # numpy's linear algebra takes as many as it likes.
            **({} if contract["form"]["format"] == "numpy" else {"threads": 1}),
            "batches": {str(batch): timing.as_json() for batch, timing in found.items()},
        }
