"""Members' policies: in use, and on disk, many of them in quick succession."""

from __future__ import annotations

import functools
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.rllib.core.rl_module.rl_module import RLModule
from torch import Tensor

from rllib_ext.base.aside import written_aside
from rllib_ext.packed.blueprint import Blueprint
from rllib_ext.packed.filters import Filters
from rllib_ext.packed.network import StackedNetwork
from rllib_ext.policy.store import PolicyParts, describe, save_pipeline

_WEIGHTS = Path("rl_module") / f"{RLModule.STATE_FILE_NAME}.pkl"


class Policies:
    """The policies of a pack's members, as RLlib's EnvRunners would have them.

    Args:
        blueprint: Settings shared by all members.
        network: The stacked networks of all members.
        filters: The members' observation filters.
    """

    def __init__(self, blueprint: Blueprint, network: StackedNetwork, filters: Filters) -> None:
        self._blueprint = blueprint
        self._network = network
        self._filters = filters

    def of(self, member: int) -> PolicyParts:
        """A member's: a copy, but for the connectors, which all share."""
        parts = self._fresh()
        self._set(parts, member)
        return parts

    def save(
        self,
        member: int,
        masks: Mapping[str, Tensor],
        folder: Path,
        metadata: Mapping[str, Any],
    ) -> None:
        """Writes a member's policy as `PolicyParts.save` would: aside, then renamed.

        RLlib writes a policy as some forty files and pickles classes and settings anew each time, which
        takes a member longer than its environments do. They are the same for all: RLlib is asked once.

        Args:
            member: Whose.
            masks: By parameter name.
            folder: Destination folder; replaced if it exists.
            metadata: Plain values that go beside it.
        """
        parts = self._written
        self._set(parts, member)
        module: Any = parts.module
        with written_aside(folder) as aside:
            for path, content in self._same.items():
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                (aside / path).write_bytes(content)
            (aside / _WEIGHTS).write_bytes(pickle.dumps(module.get_state()))
            if self._blueprint.filter is not None:
                save_pipeline(parts.env_to_module, aside / "env_to_module")
            describe(aside, module, masks, metadata)

    @functools.cached_property
    def _written(self) -> PolicyParts:
        """Takes each policy's weights in turn."""
        return self._fresh()

    @functools.cached_property
    def _same(self) -> dict[Path, bytes]:
        """All of a policy's files but its weights; a filter's statistics are written over."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self._written.write(folder)
            files = [path for path in folder.rglob("*") if path.is_file()]
            found = {path.relative_to(folder): path.read_bytes() for path in files}
        del found[_WEIGHTS]
        return found

    def _fresh(self) -> PolicyParts:
        return PolicyParts(
            module=self._blueprint.inference_module(),
            env_to_module=self._blueprint.env_to_module,
            module_to_env=self._blueprint.module_to_env,
        )

    def _set(self, parts: PolicyParts, member: int) -> None:
        weights = self._network.modules[member].state_dict()
        parts.module.load_state_dict({name: weights[name] for name in parts.module.state_dict()})
        if self._blueprint.filter is not None:
            kind = type(self._blueprint.filter)
            found = [c for c in parts.env_to_module if isinstance(c, kind)]
            found[0].set_state(self._filters.state(member))
