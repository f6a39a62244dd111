"""Fits a small decision tree as a policy, in DAgger's rounds, both with and without VIPER's weights."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline

from rllib_ext.envs.env_maker import env_maker, env_name
from rllib_ext.evaluation.evaluator import Evaluator
from rllib_ext.member.segment import Segment, snapshot_name
from rllib_ext.member.trainable import MemberSettings
from rllib_ext.policy.store import PolicyParts, load_policy
from rllib_ext.policy.tree import Tree
from rllib_ext.policy.tree_module import TreeModule
from search.population.plain_sizes import leaves_within
from search.training.demonstrations import Demonstration, demonstrate
from search.training.lesson import Lesson
from search.training.tree_fit import fit_trees
from search.training.vectors import vectors_of


def fit_tree_policy(
    settings: MemberSettings, segment: Segment, lesson: Lesson
) -> list[dict[str, Any]]:
    """Fits a tree to the dense policy and saves it as a policy.

    In the first round the dense policy plays; in each further round the previous round's tree does. Each
    tree is fitted to the dense policy's answers to all observations so far (Ross et al. 2011). In each
    round, and of all rounds, the tree with the best mean return over `lesson.choosing` is kept.

    Args:
        settings: Settings with the environment and the results folder.
        segment: Segment that gives the policy's name, and the seeds on which the search evaluates it.
        lesson: Teacher, size and episodes for the fit.

    Returns:
        A result in the form that `train_to_end` returns, with the tree described by "description",
        "unit" and "flash_bytes".
    """
    torch.set_num_threads(1)
    ppo, folder = settings.ppo_config, Path(settings.folder)
    evaluator = Evaluator(env_maker(ppo))
    try:
        best = _best(ppo, evaluator, folder / lesson.dense, lesson)
        returned = evaluator.run(best.parts.policy(), segment.evaluation_seeds)
    finally:
        evaluator.close()
    tree: Tree = best.parts.module.tree
    name = snapshot_name(segment.member, segment.segment, 0)
    counts = {"nonzero_params": tree.numbers, "total_params": tree.numbers}
    place = f"policies/{name}"
    best.parts.save({}, folder / place, {"snapshot_id": name, "env": env_name(ppo), **counts})
    return [
        {
            "env_steps": best.env_steps + sum(returned.lengths),
            "description": _description(tree, best.number, len(lesson.rounds)),
            "unit": "numbers",
            "flash_bytes": tree.bytes,
            "snapshot": {
                "status": "ok" if math.isfinite(returned.mean) else "failed",
                "return_mean": returned.mean,
                "checkpoint": place,
                "state": "",
                **counts,
            },
        }
    ]


@dataclasses.dataclass(frozen=True)
class _Best:
    """The best tree's policy, the number of its round, and the env steps of all rounds."""

    parts: Any
    number: int
    env_steps: int


def _best(ppo: PPOConfig, evaluator: Evaluator, dense: Path, lesson: Lesson) -> _Best:
    vectors, teacher = vectors_of("tree", ppo), load_policy(dense)
    leaves = leaves_within(lesson.size, 1 if vectors.discrete else vectors.actions)
    shown: Demonstration | None = None
    found: list[tuple[float, Any]] = []
    env_steps = 0
    for seeds in lesson.rounds:
        answer = found[-1][1].module.answer if found else None
        seen = demonstrate(teacher, evaluator, seeds, answer)
        shown = seen if shown is None else shown.joined(seen)
        env_steps += seen.env_steps
        rated: list[tuple[float, Any]] = []
        for tree in fit_trees(shown.thinned(), vectors, leaves):
            student = _parts(tree, teacher.module, dense)
            episodes = evaluator.run(student.policy(), lesson.choosing)
            env_steps += sum(episodes.lengths)
            rated.append((episodes.mean, student))
        found.append(max(rated, key=lambda each: each[0]))
    number = int(np.argmax([score for score, _ in found]))
    return _Best(found[number][1], number + 1, env_steps)


def _description(tree: Tree, kept: int, rounds: int) -> str:
    held = "" if tree.discrete else f", {tree.numbers:,} numbers"
    return (
        f"a binary tree of {tree.nodes:,} nodes, {tree.leaves:,} of them leaves{held}; "
        f"{tree.bytes:,} bytes; fitted to the dense policy, the best of {rounds} rounds (round {kept})"
    )


def _parts(tree: Tree, module: Any, dense: Path) -> PolicyParts:
    """Returns a policy that acts by a tree, with the dense policy's connectors."""
    found: Any = TreeModule(
        observation_space=module.observation_space,
        action_space=module.action_space,
        inference_only=True,
        model_config={"tree": tree.to_dict()},
    )
    return PolicyParts(
        module=found,
        env_to_module=EnvToModulePipeline.from_checkpoint((dense / "env_to_module").resolve()),
        module_to_env=ModuleToEnvPipeline.from_checkpoint((dense / "module_to_env").resolve()),
    )
