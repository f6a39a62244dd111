"""The arms of the starts' benchmark differ in where lineages start, and in nothing else."""

import sys

import pytest

from benchmarks import ablation
from benchmarks.starts import words


def arms(monkeypatch, *given):
    """Both arms' searches of one seed."""
    monkeypatch.setattr(sys, "argv", ["starts", *words(given)])
    asked = ablation._arguments()
    return [
        ablation.experiment(env, [*asked.both, *own], 3, 50_000)
        for env in asked.envs
        for own in (asked.of, asked.against)
    ]


def space_of(config):
    return dict(config.search.space)


@pytest.mark.parametrize("env", ablation.CASES)
def test_arms_differ_in_starts_alone(monkeypatch, env):
    mixed, dense = arms(monkeypatch, "--envs", env)
    space = space_of(mixed)
    assert space.pop("pruning.start").choices == ("dense", "narrow", "sparse")
    assert space == space_of(dense)
    assert mixed.env == dense.env == env
    assert mixed.pruning == dense.pruning
    assert (mixed.budget, mixed.horizon, mixed.seed) == (dense.budget, dense.horizon, dense.seed)
    assert space["pruning.final_sparsity"].high == 0.9995


def test_a_density_is_searched_where_it_is_asked_for(monkeypatch):
    mixed, dense = arms(monkeypatch, "--density", "0.01", "0.3", "--seeds", "2")
    density = space_of(mixed)["pruning.start_density"]
    assert (density.low, density.high, density.scale) == (0.01, 0.3, "log")
    assert "pruning.start_density" not in space_of(dense)
