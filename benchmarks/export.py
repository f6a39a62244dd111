"""Gains of taking a policy out of Ray: `make bench NAME=export ARGS="results/cartpole-…"`.

Measures one decision of the same policy, dense and as it was picked, on observations of its own
episodes, with one thread: in RLlib (its module alone, and with its connectors, as an EnvRunner acts),
with torch (eager, and compiled with --compile), with onnxruntime, and in C, called from C. The size of
each is shown as well: the file, and flash and RAM as reported by `size`. Targets are 0.1 µs and 1 kB for
CartPole's pick in C, 300 times RLlib's speed, and for continuous control 3 times the dense network's
speed in the same form.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.export.c_text import FLOAT
from rllib_ext.export.errors import ExportError
from rllib_ext.export.exporting import Options, export_policy
from rllib_ext.export.forms import Choice, write_form
from rllib_ext.export.measure import (
    BATCHES,
    CORTEX_M4,
    Timing,
    batch_feeds,
    c_latency,
    object_size,
    ram_of,
    run_latency,
    timed,
)
from rllib_ext.export.onnx_run import onnx_run
from rllib_ext.export.operations import Array, Conv, Dense, Gru, Lstm, arrays_of
from rllib_ext.export.program import Program
from rllib_ext.export.source import Source, source_of
from rllib_ext.export.torch_form import ProgramModule
from rllib_ext.export.verify import record
from rllib_ext.policy.store import PolicyParts
from search.cli.shared import warn
from search.runs.export import Opened, opened

Latencies = Mapping[int, Timing]


def main() -> None:
    """Measures and prints a table for each policy."""
    arguments = _arguments()
    torch.set_num_threads(1)
    for path in arguments.path:
        found = opened(path, arguments.point, arguments.env, warn)
        _measure(path, found, arguments.compile, arguments.verify)


def _measure(path: Path, found: Opened, compiled: bool, verify: bool) -> None:
    source = source_of(found.parts, found.masks)
    observations = _observations(found)
    rows: dict[str, tuple[Program, dict[str, Latencies]]] = {}
    for name, program in (("dense", filled(source.dense)), ("picked", source.program)):
        inputs = [_inputs(program, observation) for observation in observations]
        rows[name] = (program, dict(_forms(program, inputs, compiled)))
    print(f"\n## {path.name}: {source.program.weights:,} of {source.dense.parameters:,} weights\n")
    for place, work in _rllib(found.parts, source, observations).items():
        timing = timed(work)
        print(f"- RLlib, {place}: {timing.median:.1f} µs (p99 {timing.p99:.1f})")
    if verify:
        with tempfile.TemporaryDirectory() as folder:
            contracts = export_policy(
                found.parts, found.masks, found.ppo, Path(folder), Options(measure=False)
            )
        for kind, contract in contracts.items():
            loop = contract["verified"]["closed_loop"]
            print(f"- {kind}: verified, returns {'equal' if loop['equal'] else loop}")
    print("\n| | multiply-accumulates | form | " + " | ".join(f"batch {b}" for b in BATCHES) + " |")
    print("|---|---|---|" + "---|" * len(BATCHES))
    for name, (program, forms) in rows.items():
        for form, times in forms.items():
            cells = [f"{times[b].median:.4g} µs (p99 {times[b].p99:.4g})" for b in BATCHES]
            print(f"| {name} | {program.macs:,} | {form} | {' | '.join(cells)} |")
    print(
        "\n| | file, C | file, ONNX | flash here | flash, Cortex-M4 | RAM |\n|---|---|---|---|---|---|"
    )
    for name, (program, _) in rows.items():
        print(f"| {name} | " + " | ".join(_sizes(program)) + " |")
    dense, picked = rows["dense"][1], rows["picked"][1]
    ratios = [f"{form} {dense[form][1].median / picked[form][1].median:.2f}×" for form in picked]
    macs = rows["dense"][0].macs / max(1, rows["picked"][0].macs)
    print(f"\ndense ÷ picked: {', '.join(ratios)}; multiply-accumulates {macs:.1f}×")


def filled(program: Program) -> Program:
    """Returns a program with no weight at zero, to measure the cost of a dense network of its shape."""
    rng = np.random.default_rng(0)
    nodes = []
    for node in program.nodes:
        operation: Any = node.operation
        if isinstance(operation, Dense | Conv | Lstm | Gru):
            changed = {
                name: np.where(array == 0, rng.normal(0, 0.01, array.shape), array).astype("f4")
                for name, array in arrays_of(operation).items()
            }
            operation = dataclasses.replace(operation, **changed)
        nodes.append(dataclasses.replace(node, operation=operation))
    return dataclasses.replace(program, nodes=tuple(nodes))


def _observations(found: Opened) -> list[Any]:
    evaluator = Evaluator(env_maker(found.ppo))
    try:
        recording = record(found.parts, evaluator, range(5), 256)
    finally:
        evaluator.close()
    return [o for episode in recording.observations for o in episode][:256]


def _inputs(program: Program, observation: Any) -> dict[str, Array]:
    numbers, found = program.numbers, {}
    for given in program.given:
        part = observation
        for key in given.path:
            part = part[key]
        node = program.nodes[numbers[given.name]]
        found[given.name] = np.asarray(part, node.dtype).reshape(node.shape)
    return found


def _forms(
    program: Program, inputs: Sequence[Mapping[str, Array]], compiled: bool
) -> list[tuple[str, Latencies]]:
    found: list[tuple[str, Latencies]] = []
    module = ProgramModule(program).eval()
    found.append(("torch, eager", _torch_latency(module, program, inputs)))
    if compiled:
        fast = torch.compile(module, dynamic=False)
        found.append(("torch.compile", _torch_latency(fast, program, inputs)))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_form(folder, program, Choice(format="onnx"))
        run = onnx_run(folder / "policy.onnx", program)
        found.append(("onnxruntime", run_latency(run, program, inputs)))
        written = write_form(folder, program, Choice(format="c"))
        found.append(("C", c_latency(program, FLOAT, folder / written.main, inputs)))
    return found


def _torch_latency(
    module: Any, program: Program, inputs: Sequence[Mapping[str, Array]]
) -> Latencies:
    found = {}
    for size in BATCHES:
        feeds = batch_feeds(program, inputs, size)
        tensors = [torch.from_numpy(value) for value in feeds.values()]
        with torch.inference_mode():
            found[size] = timed(lambda tensors=tensors: module(*tensors))
    return found


def _rllib(
    parts: PolicyParts, source: Source, observations: Sequence[Any]
) -> dict[str, Callable[[], object]]:
    """Returns functions that make one decision as RLlib makes it."""
    policy = dataclasses.replace(parts, through_connectors=True).policy()
    policy.begin([0])
    batches: list[Any] = []
    compute = policy._outputs

    def noted(batch: Any, episodes: Any) -> Any:
        batches.append(batch)
        return compute(batch, episodes)

    vars(policy)["_outputs"] = noted
    policy.act([0], [observations[0]], [0.0])
    del vars(policy)["_outputs"]
    batch = {key: batches[0][key] for key in (Columns.OBS, Columns.STATE_IN) if key in batches[0]}

    @torch.inference_mode()
    def alone() -> object:
        return source.parts.module.forward_inference(dict(batch))

    def whole() -> object:
        policy.begin([0])
        return policy.act([0], [observations[0]], [0.0])

    return {"its module alone": alone, "with its connectors": whole}


def _sizes(program: Program) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_form(folder, program, Choice(format="onnx"))
        written = write_form(folder, program, Choice(format="c"))
        source = folder / written.main
        sizes = [source.stat().st_size, (folder / "policy.onnx").stat().st_size]
        sizes.append(object_size(source)["flash"])
        try:
            chip = object_size(source, *CORTEX_M4, prefix="arm-none-eabi-")["flash"]
        except ExportError as error:
            chip = 0
            print(f"(no Cortex-M4: {error})")
        sizes.append(chip)
        sizes.append(sum(ram_of(program, FLOAT, written.facts["stack_bytes"]).values()))
    return [f"{size:,} B" for size in sizes]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", type=Path, nargs="+", help="results folders, policies, checkpoints")
    parser.add_argument("--point", help="of results folders; default: keeps_95")
    parser.add_argument("--env", help="where the folder's isn't enough")
    parser.add_argument("--compile", action="store_true", help="torch.compile too")
    parser.add_argument("--verify", action="store_true", help="every form in closed loop first")
    return parser.parse_args()


if __name__ == "__main__":
    main()
