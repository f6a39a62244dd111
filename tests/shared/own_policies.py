"""Policies that users might write: those that packs can stack, and those that they can't."""

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import nn


class AsDefault(DefaultPPOTorchRLModule):
    """RLlib's own module by another name."""


class Normed(TorchRLModule, ValueFunctionAPI):
    """An actor and a critic with layer norms, of sizes that `model_config` gives."""

    width = property(lambda self: int(np.prod(self.observation_space.shape)))

    def setup(self):
        hidden = int(self.model_config.get("hidden", 16))
        discrete = isinstance(self.action_space, gym.spaces.Discrete)
        outputs = int(self.action_space.n) if discrete else 2 * self.action_space.shape[0]
        self.body = self.encoder(hidden)
        self.head = nn.Linear(hidden, outputs)
        self.critic = nn.Sequential(self.encoder(hidden), nn.Linear(hidden, 1))

    def encoder(self, hidden):
        return nn.Sequential(
            nn.Linear(self.width, hidden),
            nn.LayerNorm(hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.Tanh(),
        )

    def seen(self, batch):
        return batch[Columns.OBS].flatten(1)

    def _forward(self, batch, **kwargs):
        return {Columns.ACTION_DIST_INPUTS: self.head(self.body(self.seen(batch)))}

    def compute_values(self, batch, embeddings=None):
        return self.critic(self.seen(batch)).squeeze(-1)


class Parts(Normed):
    """Reads observations of two parts: numbers, and one of several kinds."""

    width = 8

    def setup(self):
        super().setup()
        spaces = self.observation_space.spaces
        self.places = nn.Linear(spaces["place"].shape[0], 4)
        self.kinds = nn.Parameter(torch.randn(int(spaces["kind"].n), 4))

    def seen(self, batch):
        seen = batch[Columns.OBS]
        kind = nn.functional.one_hot(seen["kind"].long(), len(self.kinds)).to(self.kinds)
        return torch.cat([self.places(seen["place"]), kind @ self.kinds], dim=-1)


class Shared(Normed):
    """An encoder for both, whose features are handed on; one layer is frozen, one unused."""

    def setup(self):
        super().setup()
        hidden = self.head.in_features
        self.critic = nn.Linear(hidden, 1)
        self.unused = nn.Linear(hidden, hidden)
        self.body[3].requires_grad_(False)

    def _forward_train(self, batch, **kwargs):
        features = self.body(self.seen(batch))
        return {Columns.ACTION_DIST_INPUTS: self.head(features), Columns.EMBEDDINGS: features}

    def compute_values(self, batch, embeddings=None):
        features = self.body(self.seen(batch)) if embeddings is None else embeddings
        return self.critic(features).squeeze(-1)


class Detached(Shared):
    """Its critic teaches the features nothing; what they are scaled by isn't trained through."""

    def _forward_train(self, batch, **kwargs):
        outputs = super()._forward_train(batch, **kwargs)
        with torch.no_grad():
            scale = 1.0 / (1.0 + outputs[Columns.EMBEDDINGS].square().mean())
        logits = scale * outputs[Columns.ACTION_DIST_INPUTS]
        return {**outputs, Columns.ACTION_DIST_INPUTS: logits}

    def compute_values(self, batch, embeddings=None):
        features = self.body(self.seen(batch)) if embeddings is None else embeddings
        return self.critic(features.detach()).squeeze(-1)


class BatchNormed(Normed):
    """Keeps running statistics."""

    def encoder(self, hidden):
        return nn.Sequential(nn.Linear(self.width, hidden), nn.BatchNorm1d(hidden), nn.ReLU())


class Dropped(Normed):
    """Draws while it trains."""

    def encoder(self, hidden):
        return nn.Sequential(nn.Linear(self.width, hidden), nn.Dropout(0.5), nn.ReLU())


class Deciding(Normed):
    """Its own outputs say what it computes."""

    def _forward(self, batch, **kwargs):
        outputs = super()._forward(batch, **kwargs)
        if outputs[Columns.ACTION_DIST_INPUTS].mean() > 0:
            outputs[Columns.ACTION_DIST_INPUTS] = -outputs[Columns.ACTION_DIST_INPUTS]
        return outputs


class Reading(Normed):
    """Takes single values out of tensors."""

    def _forward(self, batch, **kwargs):
        outputs = super()._forward(batch, **kwargs)
        scale = float(batch[Columns.OBS].abs().max())
        return {Columns.ACTION_DIST_INPUTS: outputs[Columns.ACTION_DIST_INPUTS] * scale}


class Drawn(Normed):
    """Has features that are drawn once and never trained."""

    def setup(self):
        super().setup()
        self.register_buffer("features", torch.randn(self.width))

    def seen(self, batch):
        return super().seen(batch) * self.features


class DrawnOutside(Normed):
    """The same, kept where no state has them."""

    def setup(self):
        super().setup()
        self.features = [torch.randn(self.width)]

    def seen(self, batch):
        return super().seen(batch) * self.features[0]


class Counting(Normed):
    """Remembers how often it was called."""

    def setup(self):
        super().setup()
        self.register_buffer("calls", torch.zeros(()))

    def _forward(self, batch, **kwargs):
        self.calls.add_(1.0)
        return super()._forward(batch, **kwargs)


class Choosing(Normed):
    """Chooses actions itself."""

    def _forward(self, batch, **kwargs):
        outputs = super()._forward(batch, **kwargs)
        return {**outputs, Columns.ACTIONS: outputs[Columns.ACTION_DIST_INPUTS].argmax(-1)}


class Remembering(Normed):
    """Has a recurrent layer."""

    def encoder(self, hidden):
        return nn.GRU(self.width, hidden)

    def _forward(self, batch, **kwargs):
        return {Columns.ACTION_DIST_INPUTS: self.head(self.body(self.seen(batch))[0])}


class Places(gym.Env):
    """A walk on a line, to an end that a kind names: observations are a place and a kind."""

    def __init__(self, config=None):
        self.observation_space = gym.spaces.Dict(
            {
                "place": gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
                "kind": gym.spaces.Discrete(2),
            }
        )
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._kind, self._place, self._left = int(self.np_random.integers(2)), 0.0, 20
        return self._seen(), {}

    def step(self, action):
        self._place += 0.25 * (2 * int(action) - 1)
        self._left -= 1
        over = abs(self._place) >= 1.0
        reward = float(over and (self._place > 0) == bool(self._kind))
        return self._seen(), reward, over, self._left == 0, {}

    def _seen(self):
        place = np.array([self._place, self._left / 20], dtype=np.float32)
        return {"kind": self._kind, "place": place}


def own(module_class, **model):
    """Arguments of `PPOConfig.rl_module`."""
    spec = RLModuleSpec(module_class=module_class, model_config={"hidden": 16, **model})
    return {"rl_module_spec": spec}
