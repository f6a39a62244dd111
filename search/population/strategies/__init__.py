"""Strategies: how hyperparameters are searched. One a name of `search.strategy`."""

from __future__ import annotations

from pathlib import Path

from search.config.experiment import ExperimentConfig
from search.config.settings import StrategyName
from search.population.strategies.base import Plan, Strategy
from search.population.strategies.gap_pbt import GapPBT
from search.population.strategies.independent import Optuna, Random
from search.population.strategies.pareto_pbt import ParetoPBT
from search.population.strategies.pbt_variants import PBT, Selection
from search.population.strategies.train_then_prune import TrainThenPrune
from search.population.study import Study

STRATEGIES: dict[StrategyName, type[Strategy]] = {
    "pareto_pbt": ParetoPBT,
    "gap_pbt": GapPBT,
    "optuna": Optuna,
    "pbt": PBT,
    "selection": Selection,
    "train_then_prune": TrainThenPrune,
    "random": Random,
}

__all__ = ["STRATEGIES", "Plan", "Strategy", "open_study"]


def open_study(config: ExperimentConfig, folder: Path) -> Study:
    """The study that such a strategy needs, in its results folder."""
    strategy = STRATEGIES[config.search.strategy]
    return Study(
        folder,
        config.name,
        config.space,
        sampler=config.search.sampler if strategy.guided else "random",
        startup_trials=strategy.startup_trials(config),
        objectives=config.search.objectives,
    )
