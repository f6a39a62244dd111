"""CartPole that counts the steps really taken, whoever is killed, and raises when it is told to."""

from __future__ import annotations

import mmap
import os
import struct
import uuid
from pathlib import Path
from typing import Any

import gymnasium

METERS, RAISE = "meters", "raise"
_METER = struct.Struct("qq")


class FaultyCartPole(gymnasium.Wrapper[Any, Any, Any, Any]):
    """CartPole-v1 with a meter in a file, which outlives the process.

    The meter holds the steps and the seed that the environment was reset with before the first: by it
    evaluation is told from training. Where the folder holds a file `raise`, the next step of any
    environment removes it and raises.

    Args:
        config: "folder": where the meters go.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))
        folder = Path(config["folder"])
        self._raise = folder / RAISE
        self._steps, self._seed = 0, -1
        path = folder / METERS / f"{os.getpid()}-{uuid.uuid4().hex}"
        with path.open("w+b") as file:
            file.write(_METER.pack(0, -1))
            file.flush()
            self._meter = mmap.mmap(file.fileno(), _METER.size)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None and not self._steps:
            self._seed = seed
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        self._steps += 1
        _METER.pack_into(self._meter, 0, self._steps, self._seed)
        if self._raise.exists():
            self._raise.unlink(missing_ok=True)
            raise RuntimeError("the simulator died, as it was told to")
        return self.env.step(action)


def read_meters(folder: Path) -> list[tuple[int, int]]:
    """Of each environment that ever was: its steps and its first seed."""
    return [_METER.unpack(path.read_bytes()) for path in (folder / METERS).iterdir()]
