"""The searches on which strategies and settings are compared: cases, or configuration files."""

from __future__ import annotations

import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

from search.config.experiment import RANKING
from search.config.loading import read_values

MEMBERS, SEGMENTS = 8, 8
# For the strategies that rank members: a quarter of the members start, and the env steps that this saves
# make lineages nearly twice as long.
FOUNDERS, SEGMENTS_OF_GROWING = 0.25, 15
OURS = "pareto_pbt"


@dataclasses.dataclass(frozen=True)
class Case:
    """An environment, with a budget in which one member alone learns it (a dense one, in general).

    Attributes:
        batch: Env steps of an iteration.
        iterations: Iterations per segment; a member is evaluated halfway through it and at its end.
        training: Further arguments of PPO's training.
    """

    batch: int
    iterations: int
    training: dict[str, Any]

    @property
    def budget(self) -> int:
        """Training env steps of all members of a search."""
        return MEMBERS * SEGMENTS * self.iterations * self.batch


CASES = {
    "CartPole-v1": Case(512, 12, {"gamma": 0.99, "lambda_": 0.95}),
    "Acrobot-v1": Case(512, 24, {"gamma": 0.99, "lambda_": 0.95}),
    "LunarLander-v3": Case(1024, 12, {"gamma": 0.999, "lambda_": 0.98}),
    "Pendulum-v1": Case(1024, 10, {"gamma": 0.9, "lambda_": 0.95, "entropy_coeff": 0.0}),
}


def name_of(env: str) -> str:
    """Returns the name by which rows refer to one of `CASES` or to a configuration file."""
    return env if env in CASES else Path(env).stem


def settings_of(env: str, strategy: str = "") -> str:
    """Returns a checksum of a search's settings but for seed and budget.

    Rows of searches before and after a change of a case or configuration file differ in it.

    Args:
        env: One of `CASES`, or a configuration file.
        strategy: As for `values_of`.
    """
    values = json.dumps(values_of(env, 0, None, strategy), sort_keys=True)
    return f"crc-{zlib.crc32(values.encode()):08x}"


def values_of(env: str, seed: int, budget: int | None, strategy: str = "") -> dict[str, Any]:
    """Returns the values of a search, as in YAML.

    Args:
        env: One of `CASES`, or a configuration file.
        seed: Seed of the search.
        budget: Training env steps of all members, shared evenly in place of a file's horizon; None means
            those of the case or file.
        strategy: Strategy of the search; empty for `OURS`, or the file's.
    """
    if env in CASES:
        case = CASES[env]
        return _of_case(env, case, strategy or OURS, seed, budget or case.budget)
    # Packs search in this process, even if the file leaves the engine open.
    values = {**read_values(Path(env)), "engine": "packed", "seed": seed}
    if budget:
        given = {key: value for key, value in values["budget"].items() if key != "horizon"}
        values["budget"] = {**given, "env_steps": budget}
    if strategy:
        values["search"] = {**values["search"], "strategy": strategy}
    return values


def _of_case(env: str, case: Case, strategy: str, seed: int, budget: int) -> dict[str, Any]:
    segments = SEGMENTS_OF_GROWING if strategy in RANKING else SEGMENTS
    horizon = segments * case.iterations * case.batch
    return {
        "name": f"{env}-{strategy}-{seed}",
        "env": env,
        "engine": "packed",
        "seed": seed,
        "budget": {"env_steps": budget, "horizon": horizon},
        "population": {"members": MEMBERS, "segments": segments},
        "ppo": {
            "env_runners": {"num_envs_per_env_runner": 8},
            "training": {
                "train_batch_size_per_learner": case.batch, "minibatch_size": 256,
                "num_epochs": 12, "lr": 2.5e-3, "entropy_coeff": 0.01, "clip_param": 0.2,
                "vf_clip_param": 1e4, "grad_clip": 0.5, **case.training,
            },
            "rl_module": {
                "model_config": {
                    "fcnet_hiddens": [64, 64], "fcnet_activation": "tanh", "vf_share_layers": False,
                }
            },
        },
        "pruning": {"schedule": "iterative", "lr_restart": 3.0, "begin": 0.2, "end": 0.8},
        "search": {
            "strategy": strategy,
            "founders": FOUNDERS,
            "space": {
                "pruning.final_sparsity": {
                    "type": "float", "low": 0.5, "high": 0.9995, "scale": "log_density",
                },
                "pruning.begin": {"type": "float", "low": 0.05, "high": 0.4},
                "pruning.end": {"type": "float", "low": 0.5, "high": 1.0},
                "training.lr": {"type": "float", "low": 5e-4, "high": 1e-2, "scale": "log"},
                "training.entropy_coeff": {
                    "type": "float", "low": 1e-4, "high": 3e-2, "scale": "log",
                },
            },
        },
        "evaluation": {
            "interval": case.iterations // 2, "episodes": 5, "candidates": 12,
            "selection_episodes": 20, "report_episodes": 30,
        },
    }  # fmt: skip
