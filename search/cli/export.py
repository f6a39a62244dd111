"""`prunefront export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rllib_ext.pruning.errors import ConfigError
from search.cli.shared import Folder, warn

FORMATS = ("c", "onnx", "numpy", "torch")


@click.command()
@click.argument("path", metavar="DIR|POLICY|CHECKPOINT", type=Folder())
@click.option(
    "--format", "formats", multiple=True, type=click.Choice([*FORMATS, "all"]), required=True,
    help="Of the export; repeatable.",
)  # fmt: skip
@click.option(
    "--point",
    metavar="ID",
    help="Of a DIR: a snapshot's id, goal, keeps_95, keeps_99 or knee.  [default: goal, if the search "
    "had one that is met, else keeps_95, or knee where the dense baseline is weak]",
)
@click.option(
    "--output",
    type=Folder(),
    help="Where a folder for each format goes.  [default: export/<id> in the DIR, or here]",
)
@click.option("--stochastic", is_flag=True, help="Draw actions, from noise that is given.")
@click.option(
    "--numbers",
    type=click.Choice(["float", "double", "int8"]),
    default="float",
    show_default=True,
    help="How C computes; int8: weights in 8 bits, all else in float.",
)
@click.option("--name", default="policy", show_default=True, help="Prefix of names in C.")
@click.option("--episodes", default=20, show_default=True, help="In closed loop.")
@click.option(
    "--observations", default=1000, show_default=True, help="Compared one by one, at least."
)
@click.option("--seed", default=1_000_000, show_default=True, help="First of the episodes' seeds.")
@click.option("--measure/--no-measure", default=True, help="Whether latencies are taken.")
@click.option("--env", help="Id or package.module:Class, where the folder's isn't enough.")
def export(
    path: Path,
    formats: tuple[str, ...],
    point: str | None,
    output: Path | None,
    env: str | None,
    numbers: str,
    **how: Any,
) -> None:
    """Take a policy out of Ray: raw observation in, the environment's action out.

    Of a results folder DIR a point of the front; a saved POLICY; or the CHECKPOINT of any RLlib PPO
    algorithm. It is shrunk, its critic is dropped, filters, frame stacks, and what is done to an action
    go in. Then it is held against the policy in RLlib, observation by observation and in the
    environment; one that does something else is not written. policy.json beside it says what it is.
    """
    if how["episodes"] < 2 or how["seed"] < 0 or how["observations"] < 1:
        raise ConfigError(
            f"episodes = {how['episodes']}, observations = {how['observations']}, seed = {how['seed']}; "
            "expected 2 or more episodes, 1 or more observations and a seed of 0 or more."
        )
    from rllib_ext.export.c_text import Numbers
    from rllib_ext.export.exporting import Options
    from search.runs.export import run_export

    chosen = FORMATS if "all" in formats else tuple(dict.fromkeys(formats))
    place, contracts = run_export(
        path,
        Options(
            formats=chosen,
            numbers=Numbers("double" if numbers == "double" else "float", numbers == "int8"),
            **how,
        ),
        point=point,
        output=output,
        env=env,
        warn=warn,
        say=lambda text: click.echo(f"{text} …", err=True),
    )
    for kind, contract in contracts.items():
        click.echo(_summary(place / kind, contract))


def _summary(folder: Path, contract: dict[str, Any]) -> str:
    size, verified = contract["size"], contract["verified"]
    lines = [
        f"{folder / contract['form']['main']}: {size['weights']:,} weights of "
        f"{size['dense_weights']:,}, {size['multiply_accumulates']:,} multiply-accumulates"
    ]
    if "not_shrunk" in size:
        lines.append(f"  nothing was removed: {size['not_shrunk']}")
    lines.append(f"  {_verified(verified)}" if verified else "  not verified: no C compiler here")
    if "file_bytes" in size:
        parts = [f"file {size['file_bytes']:,} bytes"]
        parts += [
            f"flash {found['flash']:,} bytes on {chip}"
            for chip, found in size.get("object", {}).items()
        ]
        if ram := size.get("ram_bytes"):
            parts.append(f"RAM {sum(ram.values()):,} bytes")
        lines.append("  " + ", ".join(parts))
    latency = contract.get("latency", {})
    if timing := latency.get("batches", {}).get("1"):
        threads = ", one thread" if "threads" in latency else ""
        lines.append(
            f"  {timing['median_us']} µs a decision (99 %: {timing['p99_us']} µs){threads}"
        )
    return "\n".join(lines)


def _verified(verified: dict[str, Any]) -> str:
    shown = (
        f"{verified['observations']:,} observations, outputs within "
        f"{verified['largest_relative_difference']:.1e}"
    )
    returns = f"return {verified['return']['mean']:.6g}"
    if "closed_loop" not in verified:
        return f"verified: {shown}; {returns}, drawn in RLlib " + (
            f"{verified['return_drawn_in_rllib']['mean']:.6g}"
        )
    loop = verified["closed_loop"]
    same = "the same as in RLlib" if loop["equal"] else f"{loop['mean']:+.4g} against RLlib"
    return f"verified: {shown}; {loop['episodes']} episodes in closed loop, {returns}, {same}"
