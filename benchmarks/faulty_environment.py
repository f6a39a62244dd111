"""CartPole that counts its steps even if its process is killed, and that raises on request."""

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
    """CartPole-v1 with a step counter, the meter, in a file that outlives the process.

    The meter holds the number of steps and the seed of the last reset before the first step, which
    distinguishes evaluation from training. If the folder contains a file `raise`, the next step of any
    environment removes it and raises.

    Args:
        config: "folder" is the folder for the meters.
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
    """Returns the number of steps and the first seed of each environment that ever existed."""
    return [_METER.unpack(path.read_bytes()) for path in (folder / METERS).iterdir()]
