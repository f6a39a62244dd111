"""`prunefront evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rllib_ext.pruning.errors import ConfigError
from search.cli.output import Output, output_options
from search.cli.shared import Folder, named_values, warn


@click.command()
@click.argument("path", metavar="DIR|POLICY", type=Folder())
@click.option("--episodes", default=100, show_default=True, help="Fresh episodes of a policy.")
@click.option(
    "--seed", type=int, help="Of the episodes.  [default: the search's for a DIR, 0 for a POLICY]"
)
@click.option("--stochastic", is_flag=True, help="Draw actions from the policy's distribution.")
@click.option("--noise", default=0.0, help="Standard deviation of noise on observations.")
@click.option(
    "--noise-unit",
    default="std",
    show_default=True,
    help="std: of each component's own standard deviation; or absolute.",
)
@click.option(
    "--action-noise",
    default=0.0,
    help="Probability of a random action; for a Box Gaussian noise in halves of the range.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument or attribute of the environment; repeatable.",
)
@click.option("--env", help="Id or package.module:Class, where the folder's isn't enough.")
@click.option("--address", help="Address of a Ray cluster, for a DIR. Default: this machine's own.")
@output_options
def evaluate(
    path: Path,
    episodes: int,
    seed: int | None,
    settings: tuple[str, ...],
    env: str | None,
    address: str | None,
    output_to: Output,
    **shift: Any,
) -> None:
    """Play fresh episodes, as in training or under a shift.

    Of a saved POLICY: its mean return with a 95 % interval and, where the dense baseline lies beside
    it, what it retains. Of a results folder DIR: the same for each point of the front, the dense
    baseline and a random policy; shift.csv and the report take the table, and what was tried before
    stays in it. Noise and actions are drawn from each episode's seed.
    """
    from rllib_ext.envs.shift import Shift
    from search.front.read_results import RESULTS_FILES

    if episodes < 2 or (seed is not None and seed < 0):
        raise ConfigError(
            f"episodes = {episodes}, seed = {seed}; expected 2 or more episodes and a seed of 0 or more."
        )
    wanted = Shift(**shift, set=tuple(named_values(settings)))
    if any((path / mark).is_file() for mark in RESULTS_FILES):
        _evaluate_front(path, wanted, episodes, seed, env, address, output_to)
    else:
        _evaluate_policy(path, wanted, episodes, seed or 0, env, output_to)


def _seeds(seed: int, shift: Any, episodes: int) -> tuple[int, ...]:
    """Under a shift the episodes of the front's own figures, so that only the shift differs."""
    from rllib_ext.envs.shift import UNSHIFTED
    from search.config.seeds import draw

    return draw(seed, "fresh" if shift.label == UNSHIFTED else "report", episodes)


def _evaluate_policy(
    path: Path, shift: Any, episodes: int, seed: int, env: str | None, output_to: Output
) -> None:
    from rllib_ext.checkpoint.foreign import foreign
    from rllib_ext.pruning.errors import CheckpointError
    from search.evaluation.under_shift import score_policy
    from search.report.generalisation_text import score_text
    from search.runs.inputs import is_policy, open_policy

    if not is_policy(path):
        raise CheckpointError(
            foreign(path)
            or f"{path} is neither a results folder nor a saved policy. Expected the --output of "
            "`prunefront search`, or a folder under its policies/."
        )
    ppo = open_policy(path, env, warn)
    score = score_policy(path, ppo, shift, _seeds(seed, shift, episodes), seed)
    output_to.tell(
        score_text(path.resolve().name, shift.label, score),
        "scored",
        policy=str(path.resolve()),
        shift=shift.label,
        figures=score.figures,
        against=score.against,
    )


def _evaluate_front(
    path: Path,
    shift: Any,
    episodes: int,
    seed: int | None,
    env: str | None,
    address: str | None,
    output_to: Output,
) -> None:
    from search.evaluation.under_shift import evaluate_shifts
    from search.front.generalisation import labelled
    from search.front.read_results import read_results
    from search.report import write_report_of
    from search.report.generalisation_text import generalisation_text
    from search.runs.inputs import open_results
    from search.runs.session import connected, starting_ray
    from search.store.writer import only_writer

    # Whoever plays the episodes has another working directory.
    path = path.resolve()
    results = read_results(path)
    recorded = results.manifest.get("seed")
    if seed is None:
        seed = recorded if isinstance(recorded, int) and recorded >= 0 else 0
    ppo = open_results(path, env, warn)
    elsewhere = env if env != results.manifest.get("env") else None
    label = labelled(shift, elsewhere)
    with only_writer(path), output_to.display() as display:
        display.phase(starting_ray(address))
        with connected(address):
            display.phase(f"evaluating the front: {label}")
            seeds = _seeds(seed, shift, episodes)
            evaluate_shifts(
                results, ppo, [shift], seeds, display.evaluating, elsewhere, display.note
            )
            results = write_report_of(results)
    table = results.shifts
    output_to.tell(
        f"{generalisation_text(results, label)}\ntable: {path / 'shift.csv'}\n"
        f"report: {results.page}",
        "shifted",
        folder=str(results.folder),
        report=str(results.page),
        shift=label,
        policies=table[table["shift"] == label].to_dict("records"),
    )
