"""A policy on disk: RLModule, connectors, masks.

A saved policy is a folder:

    rl_module/          an RLlib RLModule checkpoint; plain RLlib loads it
    env_to_module/      the connector pipelines with their state (filters, frame stacking)
    module_to_env/
    masks.npz           True = keep, by parameter name
    metadata.json       sparsity, counts, size, environment

RLlib's checkpoints are pickles: loading a policy runs code from it.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_ext.base.aside import write_aside, written_aside
from rllib_ext.policy.acting import ConnectorPolicy, DirectPolicy
from rllib_ext.policy.shortcut import shortcut_of
from rllib_ext.pruning.errors import CheckpointError, ShrinkError
from rllib_ext.pruning.masks import load_masks, save_masks
from rllib_ext.pruning.scope import lies_in
from rllib_ext.rl.module.critic import critic_names
from rllib_ext.rl.module.shrinking import policy_size

METADATA = "metadata.json"
MASKS = "masks.npz"
PARTS = ("rl_module", "env_to_module", "module_to_env")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyParts:
    """The parts of a policy.

    Attributes:
        module: The RLModule.
        env_to_module: Pipeline from episodes to the module's batch.
        module_to_env: Pipeline from the module's outputs to actions.
        through_connectors: Whether observations and actions take the connectors' way where a shortcut
            would do: the reference that others are held to.
    """

    module: RLModule
    env_to_module: EnvToModulePipeline
    module_to_env: ModuleToEnvPipeline
    through_connectors: bool = False

    def policy(self, *, stochastic: bool = False) -> ConnectorPolicy | DirectPolicy:
        """The policy as it is now.

        It acts through copies of the connectors: an evaluation must not move a filter's statistics.

        Args:
            stochastic: Whether actions are drawn from the policy's distribution.
        """
        shortcut = None
        if not self.through_connectors:
            shortcut = shortcut_of(self.module, self.env_to_module, self.module_to_env)
        if shortcut is not None:
            return DirectPolicy(self.module, shortcut, stochastic=stochastic)
        return ConnectorPolicy(
            self.module,
            _frozen(self.env_to_module),
            _frozen(self.module_to_env),
            stochastic=stochastic,
        )

    def save(
        self, masks: Mapping[str, torch.Tensor], folder: Path, metadata: Mapping[str, Any]
    ) -> None:
        """Writes the policy as it is now: aside, then renamed.

        Args:
            masks: Masks by parameter name.
            folder: Destination folder; replaced if it exists.
            metadata: Plain values that go beside it.
        """
        with written_aside(folder) as aside:
            self.write(aside)
            describe(aside, self.module, masks, metadata)

    def write(self, folder: Path) -> None:
        """Has RLlib write all of it into a folder."""
        self.module.save_to_path(folder / "rl_module")
        save_pipeline(self.env_to_module, folder / "env_to_module")
        save_pipeline(self.module_to_env, folder / "module_to_env")


def describe(
    folder: Path,
    module: RLModule,
    masks: Mapping[str, torch.Tensor],
    metadata: Mapping[str, Any],
) -> None:
    """Writes what goes beside a policy's own files: masks, plain values and its size.

    Args:
        folder: The policy's.
        module: The policy's RLModule.
        masks: By parameter name.
        metadata: Plain values.
    """
    save_masks(folder / MASKS, masks)
    description = {**metadata, "policy_bytes": compressed_size(module)}
    (folder / METADATA).write_text(json.dumps(description, indent=1))


def policy_of(algorithm: Algorithm) -> ConnectorPolicy | DirectPolicy:
    """The policy of an algorithm as it is now; its local EnvRunner holds weights and connectors."""
    return parts_of(algorithm).policy()


def save_policy(
    algorithm: Algorithm,
    masks: Mapping[str, torch.Tensor],
    folder: Path,
    metadata: Mapping[str, Any],
) -> None:
    """Writes the policy of an algorithm as it is now; arguments as `PolicyParts.save`."""
    parts_of(algorithm).save(masks, folder, metadata)


def load_policy(path: str | Path, *, stochastic: bool = False) -> ConnectorPolicy | DirectPolicy:
    """Loads a saved policy. This runs code from the checkpoint: load only what you trust.

    Args:
        path: A folder that `save_policy` wrote, such as `results/…/policies/m03-s002-i0014`.
        stochastic: Whether actions are drawn from the policy's distribution.

    Returns:
        A policy for `rllib_ext.evaluation.evaluator.Evaluator.run`.

    Raises:
        CheckpointError: The folder is missing or incomplete.
    """
    folder = _complete(path)
    return PolicyParts(
        module=RLModule.from_checkpoint(folder / "rl_module"),
        env_to_module=load_pipeline(folder),
        module_to_env=ModuleToEnvPipeline.from_checkpoint(folder / "module_to_env"),
    ).policy(stochastic=stochastic)


def load_pipeline(path: str | Path) -> EnvToModulePipeline:
    """The connectors of a saved policy, from episodes to its module. This runs code from the checkpoint.

    Args:
        path: The policy's folder.

    Raises:
        CheckpointError: The folder is missing or incomplete.
    """
    pipeline: EnvToModulePipeline = EnvToModulePipeline.from_checkpoint(
        _complete(path) / "env_to_module"
    )
    return pipeline


def _complete(path: str | Path) -> Path:
    """A saved policy's folder by its whole path: RLlib takes a relative one for a URI."""
    folder = Path(path).resolve()
    missing = [part for part in (*PARTS, METADATA) if not (folder / part).exists()]
    if missing:
        raise CheckpointError(
            f"{folder} is not a saved policy: {', '.join(missing)} missing. Expected a folder under "
            "policies/ of a results folder."
        )
    return folder


def note_size(folder: Path) -> None:
    """Shrinks a saved policy and notes in its metadata what it comes to.

    Adds "shrunk_params" and "macs" (see `rllib_ext.rl.module.shrinking.policy_size`), or "shrink_note"
    with the reason where the network has no smaller one with equal outputs. Runs code from the
    checkpoint.
    """
    module = RLModule.from_checkpoint(folder.resolve() / "rl_module")
    if not any(True for _ in module.parameters()):
        add_metadata(folder, {"shrink_note": "it has no parameters"})
        return
    try:
        found: dict[str, Any] = dict(policy_size(module, load_masks(folder / MASKS)))
    except ShrinkError as error:
        found = {"shrink_note": str(error)}
    add_metadata(folder, found)


def add_metadata(folder: Path, values: Mapping[str, Any]) -> None:
    """Adds plain values to what a saved policy says of itself; keys that are there are replaced."""
    description = {**json.loads((folder / METADATA).read_text()), **values}
    text = json.dumps(description, indent=1)
    write_aside(folder / METADATA, lambda aside: aside.write_text(text))


def compressed_size(module: torch.nn.Module) -> int:
    """Bytes of the policy path's parameters as one zip-compressed .npz.

    Zeros shrink to almost nothing. Some modules carry their critic along; it doesn't count.
    """
    critic = critic_names(module)
    arrays = {
        name: parameter.detach().cpu().numpy()
        for name, parameter in module.named_parameters()
        if not lies_in(name, critic)
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getbuffer().nbytes


def parts_of(algorithm: Algorithm) -> PolicyParts:
    """The policy of an algorithm as it is now, itself and no copy."""
    runner = algorithm.env_runner
    return PolicyParts(
        module=algorithm.get_module(),
        env_to_module=runner._env_to_module,
        module_to_env=runner._module_to_env,
    )


def _frozen(pipeline: Any) -> Any:
    """A copy whose filters apply their statistics without moving them."""
    pipeline = copy.deepcopy(pipeline)
    for connector in pipeline.connectors:
        if hasattr(connector, "_update_stats"):
            connector._update_stats = False
    return pipeline


def save_pipeline(pipeline: Any, folder: Path) -> None:
    """Writes connectors with their state."""
    # Its own get_state leaves out connectors without state, and save_to_path then misses them.
    state = {type(connector).__name__: connector.get_state() for connector in pipeline.connectors}
    pipeline.save_to_path(folder, state=state)
