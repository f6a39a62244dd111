"""`prunefront init`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from rllib_ext.pruning.errors import ConfigError
from search.cli.shared import named_values


@click.command()
@click.option("--env", required=True, help="A Gymnasium id, or package.module:Class.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument of the environment; repeatable.",
)
@click.option("--memory", is_flag=True, help="An LSTM, for observations that hide what matters.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The YAML file; new.  [default: the environment's name]",
)
def init(env: str, settings: tuple[str, ...], memory: bool, output: Path | None) -> None:
    """Write a configuration for an environment: commented YAML that `check` takes as it is.

    Builds the environment and plays a few random episodes. The network is an MLP for vectors, a CNN for
    images, and whatever can be flattened is; the budget follows the spaces, evaluation the length of
    episodes; observations and rewards are normalised where actions are continuous. No file is
    overwritten.
    """
    name = _name_of(env)
    path = output or Path(f"{name}.yaml")
    if path.exists():
        raise ConfigError(
            f"{path} is there already. Name another file with --output, or remove it."
        )
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: {path.parent} is not a folder. Make it, or name another.")
    from search.config.loading import parse_config, parse_yaml
    from search.config.suggested import suggested
    from search.runs.check import describe_plan
    from search.runs.env_facts import facts_of

    text = suggested(facts_of(env, dict(named_values(settings))), name, memory=memory)
    config = parse_config(parse_yaml(text, str(path)), str(path))
    try:
        plan = describe_plan(config)
    except ConfigError as error:
        raise ConfigError(
            f"no policy of RLlib's own fits {env}, and {path} was not written: {error}"
        ) from error
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigError(f"{path} is there by now. Name another file with --output.") from error
    click.echo(plan)
    click.echo(f"written: {path}\nnext: prunefront search {path}")


def _name_of(env: str) -> str:
    """Returns the name of an experiment on an environment: cartpole for CartPole-v1."""
    last = re.split(r"[:/]", env)[-1]
    plain = re.sub(r"-v\d+$", "", last).lower()
    return re.sub(r"[^a-z0-9._-]+", "-", plain).strip("-._") or "search"
