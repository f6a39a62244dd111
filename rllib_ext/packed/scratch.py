"""Memory that stacked layers use again in every step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from torch import Tensor

# Elements that fit in a processor's vectors; no kernel works on more at once.
_VECTOR = 64


@dataclasses.dataclass(frozen=True)
class Room:
    """Memory for a layer's outputs.

    Attributes:
        values: A tensor of the outputs' shape.
        vectors: The same memory as one row, and what lies behind it up to a whole vector.
    """

    values: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, shape: Sequence[int], like: Tensor) -> Room:
        """Fresh memory.

        Args:
            shape: The outputs' shape.
            like: Gives number format and device.
        """
        count = math.prod(shape)
        vectors = like.new_empty(-(-count // _VECTOR) * _VECTOR)
        return cls(vectors[:count].view(*shape), vectors)


class Scratch:
    """Memory that is used again in every step: fresh memory is cold, and costs page faults."""

    def __init__(self) -> None:
        self._vectors: dict[str, Tensor] = {}
        self._rooms: dict[str, dict[Sequence[int], Room]] = {}

    def room(self, name: str, shape: Sequence[int], like: Tensor) -> Room:
        """Memory with whatever was left there.

        Args:
            name: The same name gives the same memory, whatever the shape.
            shape: Shape, as for `Room.of`.
            like: Tensor with the dtype and device, as for `Room.of`.
        """
        rooms = self._rooms.setdefault(name, {})
        found = rooms.get(shape)
        if found is None:
            found = Room.of(shape, like)
            size, there = len(found.vectors), self._vectors.get(name)
            if there is None or len(there) < size:
                # Rooms in memory that is too small now would keep it.
                rooms.clear()
                self._vectors[name] = found.vectors
            else:
                found = Room(there[: math.prod(shape)].view(*shape), there[:size])
            rooms[shape] = found
        return found
