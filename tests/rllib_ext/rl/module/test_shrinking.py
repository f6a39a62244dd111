"""Structure on RLlib's own modules: every network that PPO builds by default, and users' own."""

import copy
import dataclasses
import logging

import gymnasium as gym
import numpy as np
import pytest
import torch
import tree
from own_modules import Branching
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.base import ACTOR, ENCODER_OUT
from ray.rllib.core.models.configs import MLPEncoderConfig, MultiStreamEncoderConfig
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rllib_ext.pruning.errors import ShrinkError
from rllib_ext.pruning.masks import apply_masks_, full_masks, prune
from rllib_ext.pruning.scope import prunable_weights
from rllib_ext.pruning.structure.counts import count
from rllib_ext.pruning.structure.graph import trace
from rllib_ext.pruning.structure.grouping import build_structure
from rllib_ext.pruning.structure.shrink import TOLERANCE
from rllib_ext.pruning.structure.structured import prune_groups
from rllib_ext.rl.module.critic import critic_names
from rllib_ext.rl.module.probing import probe_of
from rllib_ext.rl.module.shrinking import policy_size, shrink_policy

BOX = gym.spaces.Box(-1.0, 1.0, (6,), np.float32)
IMAGE = gym.spaces.Box(0.0, 1.0, (10, 10, 4), np.float32)
DISCRETE = gym.spaces.Discrete(3)
CONTINUOUS = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
SMALL = {"fcnet_hiddens": [16, 12]}
MODULES = {
    "shared": (BOX, DISCRETE, SMALL),
    "separate": (BOX, DISCRETE, {**SMALL, "vf_share_layers": False}),
    "relu": (BOX, DISCRETE, {**SMALL, "fcnet_activation": "relu"}),
    "silu": (BOX, DISCRETE, {**SMALL, "fcnet_activation": "silu"}),
    "sigmoid": (BOX, DISCRETE, {**SMALL, "fcnet_activation": "Sigmoid"}),
    "deep heads": (BOX, DISCRETE, {**SMALL, "head_fcnet_hiddens": [9]}),
    "multi-discrete": (BOX, gym.spaces.MultiDiscrete([3, 4]), SMALL),
    "continuous": (BOX, CONTINUOUS, SMALL),
    "free log-std": (BOX, CONTINUOUS, {**SMALL, "free_log_std": True}),
    "image": (IMAGE, DISCRETE, {"conv_filters": [[8, 3, 2], [6, 3, 1]]}),
    "image, valid": (
        IMAGE,
        DISCRETE,
        {
            "conv_filters": [[8, 3, 2, "valid"], [6, 2, 1, "valid"]],
            "head_fcnet_hiddens": [9],
            "vf_share_layers": False,
            "conv_activation": "tanh",
        },
    ),
    "lstm": (BOX, DISCRETE, {**SMALL, "use_lstm": True, "lstm_cell_size": 10}),
    "lstm, separate": (
        BOX,
        DISCRETE,
        {**SMALL, "use_lstm": True, "lstm_cell_size": 10, "vf_share_layers": False},
    ),
    "lstm over images": (
        IMAGE,
        DISCRETE,
        {
            "conv_filters": [[6, 3, 2, "valid"], [4, 4, 1, "valid"], [7, 1, 1, "valid"]],
            "use_lstm": True,
            "lstm_cell_size": 8,
        },
    ),
}


def build(
    name: str, *, inference_only: bool = False, module_class=DefaultPPOTorchRLModule
) -> DefaultPPOTorchRLModule:
    observations, actions, model = MODULES[name]
    torch.manual_seed(0)
    return RLModuleSpec(
        module_class=module_class,
        observation_space=observations,
        action_space=actions,
        inference_only=inference_only,
        model_config=dataclasses.asdict(DefaultModelConfig(**model)),
    ).build()


def weights_of(module):
    return prunable_weights(module, critic_names(module))


def prune_units(module, sparsity: float, granularity: str = "neuron"):
    weights = weights_of(module)
    everything = {**weights.policy, **weights.critic}
    structure = build_structure(trace(module, probe_of(module)), granularity, everything)
    scores = {name: w.detach().abs() for name, w in everything.items()}
    masks = full_masks(everything)
    for among in (weights.policy, weights.critic):
        masks = prune_groups(
            structure, scores, masks, scope="layerwise", among=among, sparsity=sparsity
        )
    parameters = dict(module.named_parameters())
    apply_masks_(parameters, {**masks, **structure.bias_masks(masks)})
    return structure, masks


def prune_weights(module, sparsity: float):
    weights = weights_of(module)
    masks = {}
    for among in (weights.policy, weights.critic):
        scores = {name: w.detach().abs() for name, w in among.items()}
        count = round(sparsity * sum(w.numel() for w in among.values()))
        masks |= prune(scores, full_masks(among), scope="global", count=count)
    apply_masks_({**weights.policy, **weights.critic}, masks)
    return masks


def policy_counts(module, critic=None):
    critic = critic_names(module) if critic is None else critic
    return count(module, probe_of(module, policy_only=True), without=critic)


def initial_state(module, batch: int):
    return tree.map_structure(
        lambda s: torch.as_tensor(s).expand(batch, *s.shape), module.get_initial_state()
    )


def play(module, observations: torch.Tensor) -> list[torch.Tensor]:
    """Action inputs step by step, the module's own state carried over; observations (T, B, …)."""
    found = []
    state = initial_state(module, observations.shape[1]) if module.is_stateful() else None
    for step in observations:
        if state is None:
            outputs = module.forward_inference({Columns.OBS: step})
        else:
            batch = {Columns.OBS: step.unsqueeze(1), Columns.STATE_IN: state}
            outputs = module.forward_inference(batch)
            state = outputs[Columns.STATE_OUT]
        found.append(outputs[Columns.ACTION_DIST_INPUTS])
    return found


def assert_plays_alike(module, other) -> None:
    shape = module.observation_space.shape
    observations = torch.randn(50, 5, *shape, generator=torch.Generator().manual_seed(7))
    for ours, theirs in zip(play(module, observations), play(other, observations), strict=True):
        assert ours.shape == theirs.shape
        assert float((ours - theirs).abs().max()) <= TOLERANCE * float(theirs.abs().max())


@pytest.mark.parametrize("name", MODULES)
def test_rllibs_own_networks_have_the_critic_that_they_name(name):
    module = build(name)
    assert sorted(critic_names(module)) == sorted(
        part
        for part in module.get_non_inference_attributes()
        if any(n.startswith(f"{part}.") for n, _ in module.named_parameters())
    )
    assert critic_names(build(name, inference_only=True)) in ([], critic_names(module))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_pruned_by_units_shrinks_and_plays_alike(name):
    module = build(name)
    structure, masks = prune_units(module, 0.7)
    shrunk = shrink_policy(module, masks)
    assert_plays_alike(shrunk.module, module)
    assert structure.left_alone == {}
    assert int(structure.removed(masks).sum()) >= len(structure) // 4
    before, after = (policy_counts(m) for m in (module, shrunk.module))
    assert after.nonzero == before.nonzero
    assert after.parameters < 0.6 * before.parameters
    assert shrunk.after.parameters < 0.6 * shrunk.before.parameters


@pytest.mark.parametrize("name", MODULES)
def test_a_module_pruned_by_weights_shrinks_and_plays_alike(name):
    module = build(name)
    masks = prune_weights(module, 0.97)
    shrunk = shrink_policy(module, masks)
    assert_plays_alike(shrunk.module, module)
    assert policy_counts(shrunk.module).parameters < policy_counts(module).parameters
    assert not hasattr(shrunk.module, "vf")
    assert hasattr(module, "vf")


@pytest.mark.parametrize("name", ["shared", "separate", "image", "lstm", "lstm, separate"])
def test_the_size_of_a_policy_is_the_same_for_the_learners_and_the_runners_module(name):
    learner = build(name)
    _, masks = prune_units(learner, 0.5)
    runner = build(name, inference_only=True)
    runner.load_state_dict(learner.state_dict(), strict=False)
    assert policy_size(runner, masks) == policy_size(learner, masks)


@pytest.mark.parametrize("name", ["shared", "separate", "deep heads", "image", "free log-std"])
def test_the_size_of_a_policy_equals_an_independent_count(name):
    module = build(name, inference_only=True)
    masks = prune_weights(module, 0.9)
    size = policy_size(module, masks)
    small = shrink_policy(module, masks).module
    observation = torch.randn(1, *module.observation_space.shape)
    for prefix, measured in (("shrunk_params", small), ("dense_params", module)):
        assert size[prefix] == sum(p.numel() for p in measured.parameters())
    for key, measured in (("macs", small), ("dense_macs", module)):
        with FlopCounterMode(display=False) as counter:
            measured.forward_inference({Columns.OBS: observation})
        assert size[key] * 2 == counter.get_total_flops()


def test_a_dense_lstm_policy_costs_its_tokenizer_four_gates_and_the_head():
    module = build("lstm, separate")
    masks = full_masks(weights_of(module).policy)
    size = policy_size(module, masks)
    assert size["dense_macs"] == 6 * 16 + 16 * 12 + 4 * 10 * (12 + 10) + 10 * 3
    assert size["macs"] == size["dense_macs"]
    assert size["shrunk_params"] == size["dense_macs"] + 16 + 12 + 2 * 40 + 3


def test_the_initial_state_of_a_shrunk_lstm_has_its_new_size():
    module = build("lstm, separate")
    _, masks = prune_units(module, 0.6)
    small = shrink_policy(module, masks).module
    state = small.get_initial_state()[ACTOR]["h"]
    assert state.shape[-1] == small.encoder.actor_encoder.lstm.hidden_size < 10
    assert module.get_initial_state()[ACTOR]["h"].shape[-1] == 10


def test_a_layer_norm_is_refused_by_name():
    module = RLModuleSpec(
        module_class=DefaultPPOTorchRLModule,
        observation_space=BOX,
        action_space=DISCRETE,
        model_config=dataclasses.asdict(DefaultModelConfig(**SMALL, fcnet_use_layernorm=True)),
    ).build()
    masks = full_masks(weights_of(module).policy)
    masks["encoder.encoder.net.mlp.0.weight"][3] = False
    with pytest.raises(ShrinkError, match="LayerNorm"):
        shrink_policy(module, masks)


def test_a_module_that_branches_on_values_keeps_its_masked_self():
    module = build("separate", module_class=Branching)
    masks = prune_weights(module, 0.5)
    with pytest.raises(
        ShrinkError, match=r"when values change, .* Keep the masked module"
    ) as raised:
        policy_size(module, masks)
    assert "granularity" not in str(raised.value)


def test_tracing_leaves_a_module_and_its_space_as_they_were():
    module = build("separate")
    module.observation_space.seed(5)
    expected = copy.deepcopy(module.observation_space).sample()
    before = copy.deepcopy(module.state_dict())
    trace(module, probe_of(module))
    assert np.array_equal(module.observation_space.sample(), expected)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert module.training


class DictModule(TorchRLModule, ValueFunctionAPI):
    """A user's own: an encoder for each key, a layer that is not understood, two heads."""

    def setup(self) -> None:
        self.camera = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten())
        self.speed = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.ReLU())
        self.trunk = nn.Sequential(nn.Linear(4 * 16 + 8, 10), nn.Tanh())
        self.pi, self.value = nn.Linear(10, 2), nn.Linear(10, 1)

    def _embed(self, batch):
        observation = batch[Columns.OBS]
        camera = self.camera(observation["camera"].unsqueeze(1))
        return self.trunk(torch.cat([camera, self.speed(observation["speed"])], -1))

    def _forward(self, batch, **kwargs):
        embedded = self._embed(batch)
        return {Columns.ACTION_DIST_INPUTS: self.pi(embedded), Columns.EMBEDDINGS: embedded}

    def compute_values(self, batch, embeddings=None):
        return self.value(self._embed(batch) if embeddings is None else embeddings).squeeze(-1)


DICT = gym.spaces.Dict(
    {
        "camera": gym.spaces.Box(0.0, 1.0, (6, 6), np.float32),
        "speed": gym.spaces.Box(-np.inf, np.inf, (3,), np.float32),
    }
)


def build_dict() -> DictModule:
    torch.manual_seed(0)
    return DictModule(observation_space=DICT, action_space=gym.spaces.Discrete(2))


def test_a_users_module_is_pruned_where_it_is_understood(caplog):
    module = build_dict()
    with caplog.at_level(logging.WARNING):
        structure, masks = prune_units(module, 0.5)
    homes = set(structure.homes)
    assert homes == {"camera.0.weight", "trunk.0.weight"}
    assert len(caplog.records) == 1
    assert "speed.1: LayerNorm is not understood" in caplog.text
    shrunk = shrink_policy(module, masks)
    assert shrunk.after.parameters < shrunk.before.parameters
    assert shrunk.kept["speed.0"].tolist() == list(range(8))


class FusedModule(TorchRLModule, ValueFunctionAPI):
    """RLlib's encoder for several streams: one encoder for each, fused with skip connections."""

    def setup(self) -> None:
        streams = {
            key: MLPEncoderConfig(
                input_dims=space.shape,
                hidden_layer_dims=[7],
                output_layer_dim=6,
                output_layer_activation="tanh",
            )
            for key, space in self.observation_space.items()
        }
        self.encoder = MultiStreamEncoderConfig(
            base_encoder_configs=streams, hidden_layer_dims=[10, 8], hidden_layer_activation="relu"
        ).build(framework="torch")
        self.pi, self.value = nn.Linear(8, 2), nn.Linear(8, 1)

    def _embed(self, batch):
        return self.encoder(batch[Columns.OBS])[ENCODER_OUT]

    def _forward(self, batch, **kwargs):
        embedded = self._embed(batch)
        return {Columns.ACTION_DIST_INPUTS: self.pi(embedded), Columns.EMBEDDINGS: embedded}

    def compute_values(self, batch, embeddings=None):
        return self.value(self._embed(batch) if embeddings is None else embeddings).squeeze(-1)


def build_fused() -> FusedModule:
    torch.manual_seed(0)
    space = gym.spaces.Dict({"a": BOX, "b": gym.spaces.Box(-1.0, 1.0, (3,), np.float32)})
    return FusedModule(observation_space=space, action_space=gym.spaces.Discrete(2))


@pytest.mark.parametrize(
    ("granularity", "names"),
    [
        ("neuron", None),
        ("layer", ("encoder.fusion_layers.0",)),
        ("branch", ("obs.a", "obs.b")),
    ],
)
def test_streams_fused_with_skip_connections_are_pruned_at_every_granularity(granularity, names):
    module = build_fused()
    structure, masks = prune_units(module, 0.8, granularity)
    assert names is None or structure.names == names
    assert structure.removed(masks).any()
    shrunk = shrink_policy(module, masks)
    # What goes whole leaves one unit without weights behind, for the shape of what reads it.
    stubs = 0 if granularity == "neuron" else 20
    # No action reads the value's layer, so that it stays as wide as it was.
    size = policy_counts(shrunk.module, ["value"])
    assert size.nonzero <= size.parameters <= size.nonzero + stubs
    assert shrunk.after.macs < shrunk.before.macs


def test_a_branch_of_a_dict_observation_goes_whole():
    module = build_dict()
    structure, masks = prune_units(module, 0.95, "branch")
    assert structure.names == ("obs.camera", "obs.speed")
    assert int(structure.removed(masks).sum()) == 1
    gone = structure.names[int(structure.removed(masks).nonzero()[0])].removeprefix("obs.")
    observation = {
        "camera": torch.rand(4, 6, 6),
        "speed": torch.randn(4, 3),
    }
    with torch.no_grad():
        before = module._forward({Columns.OBS: observation})[Columns.ACTION_DIST_INPUTS]
        observation[gone] = observation[gone] + 1.0
        after = module._forward({Columns.OBS: observation})[Columns.ACTION_DIST_INPUTS]
    assert torch.equal(before, after)
