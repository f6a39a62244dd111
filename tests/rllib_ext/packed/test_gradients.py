"""Gradients that are written out against autograd's, and what must not depend on who else is there."""

import dataclasses

import pytest
import torch
from ray.rllib.core.columns import Columns

from rllib_ext.envs.env_maker import env_maker
from rllib_ext.packed.adam import StackedAdam
from rllib_ext.packed.distributions import Categorical, DiagonalGaussian, distribution_for
from rllib_ext.packed.layers import Dense
from rllib_ext.packed.loss import Coefficients, Minibatch, losses
from rllib_ext.packed.loss_gradient import LossGradient
from rllib_ext.packed.network import StackedNetwork, build_module, rows_of
from rllib_ext.packed.scratch import Scratch

BATCH = 40
# In each another term is at work, or a limit.
COEFFICIENTS = {
    "clip": (0.1, 0.3, 0.2),
    "value_clip": (0.5, torch.inf, 4.0),
    "value": (1.0, 0.5, 2.0),
    "entropy": (0.02, 0.0, 0.1),
    "divergence": (0.0, 0.7, 0.2),
    "teaching": (0.4, 0.0, 1.5),
}
MEMBERS = 3


@pytest.fixture(params=[True, False], ids=["all terms", "no entropy, no divergence"])
def coefficients(request):
    found = {name: torch.tensor(values).double() for name, values in COEFFICIENTS.items()}
    if not request.param:
        found |= {name: torch.zeros(MEMBERS).double() for name in ("entropy", "divergence")}
    return Coefficients(**found)


def minibatch(discrete, width, observed, generator):
    def draw(*shape):
        return torch.randn(MEMBERS, BATCH, *shape, generator=generator, dtype=torch.float64)

    inputs = 0.3 * draw(width)
    actions = draw(width).argmax(-1) if discrete else draw(width // 2)
    old = distribution_for(discrete=discrete)(inputs).log_probability(actions)
    return Minibatch(
        observations=draw(observed),
        actions=actions,
        inputs=inputs,
        log_probabilities=old + 0.3 * draw(),
        advantages=draw(),
        targets=2.0 * draw(),
        counted=(draw() < 1.0).double(),
        taught=0.3 * draw(width),
    )


@pytest.mark.parametrize(("distribution", "width"), [(Categorical, 5), (DiagonalGaussian, 6)])
def test_gradients_of_every_term_are_autograd_s(distribution, width, coefficients):
    generator = torch.Generator().manual_seed(0)
    batch = minibatch(distribution is Categorical, width, 4, generator)
    inputs = (batch.inputs + 0.2 * torch.randn(batch.inputs.shape, generator=generator)).detach()
    values = torch.randn(MEMBERS, BATCH, generator=generator, dtype=torch.float64)
    inputs.requires_grad_()
    values.requires_grad_()
    total = losses(distribution, inputs, values, batch, coefficients).total.sum()
    expected = torch.autograd.grad(total, (inputs, values))
    with torch.no_grad():
        found = LossGradient.of(distribution, coefficients)(inputs, values, batch)
    # Clipped and unclipped steps, and values on either side of their limit.
    for gradient in expected:
        assert bool((gradient == 0).any() and (gradient != 0).any())
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_gradients_of_networks_are_autograd_s_of_the_members_modules(kind, coefficients):
    ppo, space, actions = kind
    generator = torch.Generator().manual_seed(1)
    spec = ppo.get_rl_module_spec(env=env_maker(ppo)())
    network = StackedNetwork([build_module(spec, seed).double() for seed in range(MEMBERS)])
    discrete = hasattr(actions, "n")
    distribution = distribution_for(discrete=discrete)
    width = int(actions.n) if discrete else 2 * actions.shape[0]
    batch = minibatch(discrete, width, int(torch.tensor(space.shape).prod()), generator)
    expected = []
    for i, module in enumerate(network.modules):
        rows = slice(i, i + 1)
        own = Minibatch(
            **{f.name: getattr(batch, f.name)[rows] for f in dataclasses.fields(Minibatch)}
        )
        seen = {Columns.OBS: own.observations.view(BATCH, *space.shape)}
        outputs = module._forward_train(seen)
        values = module.compute_values(seen, embeddings=outputs.get(Columns.EMBEDDINGS))
        inputs = outputs[Columns.ACTION_DIST_INPUTS]
        total = losses(distribution, inputs[None], values[None], own, coefficients.of(rows)).total
        total.sum().backward()
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()]
        expected.append(torch.cat([gradient.flatten() for gradient in found]))
    # Filled, and then used again by a batch of another size: nothing of it may be left.
    for size in (BATCH // 2, BATCH):
        part = Minibatch(
            **{f.name: getattr(batch, f.name)[:, :size] for f in dataclasses.fields(Minibatch)}
        )
        with torch.no_grad():
            passed = network.forward_pass(network.parts(network.weights), part.observations)
            found = torch.full_like(network.weights, torch.nan)
            gradient = LossGradient.of(distribution, coefficients)
            passed.backward(*gradient(passed.inputs, passed.values, part), network.parts(found))
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("units", [7, 10, 64])
def test_a_layer_gives_a_member_the_same_bits_wherever_it_lies_in_the_stack(dtype, units):
    generator = torch.Generator().manual_seed(2)
    layer = Dense("weight", "bias", tanh=True)
    shapes = {"weight": (9, units, 3), "bias": (9, units)}
    parameters = {n: torch.randn(s, generator=generator, dtype=dtype) for n, s in shapes.items()}
    observations = torch.randn(9, 5, 3, generator=generator, dtype=dtype)
    scratch = Scratch()
    together = layer(parameters, observations, scratch).clone()
    linear = torch.einsum("mbi,moi->mbo", observations, parameters["weight"])
    expected = torch.tanh(linear + parameters["bias"].unsqueeze(1))
    tolerance = 5e-7 if dtype == torch.float32 else 1e-15
    torch.testing.assert_close(together, expected, rtol=0, atol=tolerance)
    for first, last in ((0, 2), (1, 4), (7, 9)):
        some = {name: value[first:last] for name, value in parameters.items()}
        assert torch.equal(layer(some, observations[first:last], scratch), together[first:last])
        assert torch.equal(layer(some, observations[first:last]), together[first:last])


@pytest.mark.parametrize("chosen", [[0, 1, 2], [0, 2], [1]])
def test_steps_of_all_members_at_once_are_those_of_each(packed_ppo, chosen):
    spec = packed_ppo().get_rl_module_spec(env=env_maker(packed_ppo())())
    networks = [
        StackedNetwork([build_module(spec, seed).double() for seed in range(3)]) for _ in range(2)
    ]
    each, stacked = (StackedAdam(network) for network in networks)
    generator = torch.Generator().manual_seed(3)
    rates = torch.tensor([0.0, 1e-2, 3e-3], dtype=torch.float64)[chosen]
    before = networks[0].weights.clone()
    for _ in range(4):
        gradients = torch.randn(
            len(chosen), before.shape[1], generator=generator, dtype=torch.float64
        )
        gradients[:, :7] = 0.0
        each._step_each_(gradients.clone(), rates, rows_of(chosen, networks[0]))
        stacked._step_all_(gradients, rates, rows_of(chosen, networks[1]))
    torch.testing.assert_close(networks[0].weights, networks[1].weights, rtol=0, atol=1e-14)
    torch.testing.assert_close(each.second, stacked.second, rtol=0, atol=1e-15)
    assert torch.equal(each.steps, stacked.steps)
    # A member at rate 0, or that doesn't step, rests to the bit.
    for network in networks:
        resting = [i for i in range(3) if i == 0 or i not in chosen]
        assert torch.equal(network.weights[resting], before[resting])
