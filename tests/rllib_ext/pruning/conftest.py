from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from rllib_ext.pruning.structure.graph import Probe


def _drawn(shape: Any, batch: int, generator: torch.Generator) -> Any:
    if isinstance(shape, dict):
        return {key: _drawn(part, batch, generator) for key, part in shape.items()}
    return torch.randn(batch, *shape, generator=generator)


@pytest.fixture
def probe_for() -> Callable[..., Probe]:
    """Makes a probe that gives a module random inputs of one shape, or a dict of shapes."""

    def make(shape: Any, batch: int = 4) -> Probe:
        return Probe(
            inputs=lambda module, generator: _drawn(shape, batch, generator),
            forward=lambda module, x: module(x),
            observations=batch,
        )

    return make


class ActorCritic(nn.Module):
    """One encoder, two heads, as RLlib's default with shared layers."""

    shape = (6,)

    def __init__(self, activation: type[nn.Module] = nn.Tanh) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 12), activation(), nn.Linear(12, 8), activation())
        self.pi, self.vf = nn.Linear(8, 4), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        z = self.encoder(x)
        return {"logits": self.pi(z), "value": self.vf(z).squeeze(-1)}


class Residual(nn.Module):
    """A block with a path around it: x + second(relu(first(x)))."""

    shape = (6,)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 10)
        self.first, self.second = nn.Linear(10, 7), nn.Linear(7, 10)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        return self.head(x + self.second(self.first(x).relu()))


class TwoEncoders(nn.Module):
    """A dict observation with an encoder for each key, concatenated before the head."""

    shape: ClassVar = {"camera": (2, 5, 5), "speed": (3,)}

    def __init__(self) -> None:
        super().__init__()
        self.camera = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten())
        self.speed = nn.Sequential(nn.Linear(3, 5), nn.ReLU())
        self.trunk = nn.Linear(4 * 9 + 5, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        both = torch.cat([self.camera(x["camera"]), self.speed(x["speed"])], -1)
        return self.head(self.trunk(both).tanh())


class Convolutional(nn.Module):
    """Two convolutions, flattened into a small head."""

    shape = (2, 6, 6)

    def __init__(self, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(2, 4, 3),
            activation(),
            nn.Conv2d(4, 5, 2, stride=2),
            activation(),
            nn.Flatten(),
            nn.Linear(5 * 4, 7),
            activation(),
            nn.Linear(7, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Concatenated(nn.Module):
    """Two encoders of one observation, concatenated before the head."""

    shape = (4,)

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(4, 5), nn.Linear(4, 6), nn.Linear(11, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.left(x).relu(), self.right(x).tanh()], -1))


class Recurrent(nn.Module):
    """A tokenizer, a recurrent layer and a head, over sequences."""

    shape = (7, 5)

    def __init__(self, kind: type[nn.Module] = nn.LSTM) -> None:
        super().__init__()
        self.tokens = nn.Linear(5, 6)
        self.core = kind(6, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.core(self.tokens(x).tanh())[0])


@pytest.fixture
def networks() -> dict[str, type[nn.Module]]:
    """Networks by name; the shape of one observation is their attribute `shape`."""
    return {
        "actor_critic": ActorCritic,
        "convolutional": Convolutional,
        "concatenated": Concatenated,
        "residual": Residual,
        "two_encoders": TwoEncoders,
        "recurrent": Recurrent,
    }
