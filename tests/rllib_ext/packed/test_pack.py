"""Packs: members equal trainings alone, keep to themselves when one fails, and copy exactly."""

import math

import pytest
import torch
from packs import IMAGES, Images, started

from rllib_ext import PruningConfig
from rllib_ext.evaluation.evaluator import Episodes
from rllib_ext.packed.pack import Pack
from rllib_ext.packed.state import MemberState
from rllib_ext.pruning.errors import CheckpointError, ConfigError, RunError

ITERATION = 64
DENSE = PruningConfig(final_sparsity=0.0, horizon=1000)
# Nothing in common but the batch.
MEMBERS = (
    (
        {"lr": 1e-3, "clip_param": 0.1, "entropy_coeff": 0.02, "num_epochs": 3, "grad_clip": 0.5},
        {"final_sparsity": 0.9, "begin": 0.1, "end": 0.6, "schedule": "cubic"},
    ),
    (
        {"lr": 1e-2, "use_kl_loss": False, "vf_clip_param": 5.0, "gamma": 0.9, "num_epochs": 1},
        {"final_sparsity": 0.5, "scope": "erk", "criterion": "movement", "schedule": "linear"},
    ),
    (
        {"lr": 3e-4, "kl_coeff": 0.5, "kl_target": 1e-4, "lambda_": 0.8, "num_epochs": 2},
        {"final_sparsity": 0.8, "scope": "layerwise", "criterion": "gradient", "end": 0.5},
    ),
    (
        {"lr": 5e-3, "vf_loss_coeff": 0.5, "grad_clip": 0.1, "num_epochs": 3},
        {"final_sparsity": 0.7, "schedule": "iterative", "rewind_to": 0.0, "round_share": 0.3},
    ),
)


def start(pack, place, member, seed, *, iterations=50, **rest):
    training, pruning = member
    config = PruningConfig(horizon=iterations * ITERATION, **pruning)
    pack.start(place, training=training, pruning=config, seed=seed, **rest)


@pytest.mark.parametrize(
    ("env", "model", "updates", "iterations"),
    [
        ("CartPole-v1", {}, 24, 24),
        ("Pendulum-v1", {"vf_share_layers": True, "fcnet_activation": "relu"}, 8, 50),
        (Images, IMAGES, 24, 24),
        (Images, {**IMAGES, "vf_share_layers": True}, 4, 50),
    ],
)
def test_members_packed_are_members_alone(packed_ppo, env, model, updates, iterations):
    ppo = packed_ppo(env, model)
    together = Pack(ppo, len(MEMBERS), dtype=torch.float64)
    for i, member in enumerate(MEMBERS):
        start(together, i, member, seed=10 + i, iterations=iterations)
    for _ in range(updates):
        last = together.train()
    for i, member in enumerate(MEMBERS):
        alone = Pack(ppo, 1, dtype=torch.float64)
        start(alone, 0, member, seed=10 + i, iterations=iterations)
        for _ in range(updates):
            expected = alone.train()[0]
        difference = (together.network.weights[i] - alone.network.weights[0]).abs().max()
        assert float(difference) <= 1e-10
        masks, own = together.pruning.pruner(i).masks, alone.pruning.pruner(0).masks
        assert all(torch.equal(masks[name], own[name]) for name in own)
        assert last[i]["pruning"]["sparsity"] == expected["pruning"]["sparsity"]
        assert last[i]["learners"] == pytest.approx(expected["learners"], rel=1e-9)
        assert last[i]["env_runners"] == pytest.approx(expected["env_runners"], nan_ok=True)
    sparsities = [last[i]["pruning"]["sparsity"] for i in range(len(MEMBERS))]
    if updates == iterations:
        assert sparsities == pytest.approx([0.9, 0.5, 0.8, 0.7], abs=2e-3)
        assert len({last[i]["learners"]["curr_kl_coeff"] for i in range(len(MEMBERS))}) > 2


def test_members_learn_the_same_from_environments_in_processes_of_their_own(packed_ppo):
    packs = []
    for mode in ("sync", "async"):
        ppo = packed_ppo("Pendulum-v1", runners={"gym_env_vectorize_mode": mode})
        packs.append(started(ppo, iterations=2))
        packs[-1].close()
    assert torch.equal(packs[0].network.weights, packs[1].network.weights)


def test_pruned_weights_are_zero_after_every_iteration_and_the_rest_learns(packed_ppo):
    pack = Pack(packed_ppo(), 2)
    for i in range(2):
        start(pack, i, MEMBERS[0], seed=i)
    for _ in range(40):
        results = pack.train()
    for i in range(2):
        pruner = pack.pruning.pruner(i)
        for name, mask in pruner.masks.items():
            weights = pack.network.part(pack.network.weights[i], name)
            assert not bool(weights[~mask].any())
            assert not bool(pack.network.part(pack.adam.first[i], name)[~mask].any())
        assert results[i]["pruning"]["sparsity"] == pytest.approx(0.9, abs=1e-3)
        assert results[i]["env_steps"] == 40 * ITERATION
        assert results[i]["env_runners"]["episode_return_mean"] > 0


def test_a_member_that_is_not_a_number_fails_and_touches_no_other(packed_ppo):
    packs = [Pack(packed_ppo(), 3) for _ in range(2)]
    for pack in packs:
        for i in range(3):
            start(pack, i, MEMBERS[i], seed=i)
        pack.train()
    sound, broken = packs
    broken.network.weights[1, 5] = math.nan
    for turn in range(6):
        expected, found = sound.train(), broken.train()
        assert (1 in found) == (turn == 0)
        if turn == 0:
            assert "finite" in found[1]["failure"] or "NaN" in found[1]["failure"]
        for i in (0, 2):
            assert found[i]["failure"] == ""
            assert torch.equal(broken.network.weights[i], sound.network.weights[i])
            assert found[i]["learners"] == expected[i]["learners"]
    start(broken, 1, MEMBERS[1], seed=7)
    assert broken.train()[1]["failure"] == ""
    broken.network.weights[:] = math.nan
    broken.train()
    with pytest.raises(RunError, match="no member to train"):
        broken.train()


@pytest.mark.usefixtures("asked")
def test_gradients_that_are_not_numbers_are_zeroed_as_in_rllib(packed_ppo):
    from ray.rllib.utils.torch_utils import clip_gradients

    from rllib_ext.packed.update import clip_

    pack = Pack(packed_ppo(), 5)
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(pack.network.weights.shape, generator=generator)
    names = list(pack.network.slots)
    pack.network.part(gradients[1], names[2]).fill_(math.nan)
    pack.network.part(gradients[2], names[0])[0, 0] = math.inf
    # Finite, but without a finite norm.
    pack.network.part(gradients[3], names[1]).fill_(1e30)
    expected = []
    for row in gradients.clone():
        parts = {name: pack.network.part(row, name) for name in names}
        clip_gradients(parts, grad_clip=0.5, grad_clip_by="global_norm")
        expected.append({n: torch.nan_to_num(part) for n, part in parts.items()})
    clip_(gradients, torch.full((5,), 0.5), pack.network)
    for i in range(5):
        for name in names:
            found = pack.network.part(gradients[i], name)
            torch.testing.assert_close(found, expected[i][name])


def everything(pack, place):
    state = pack.state(place)
    pruning = dict(state.pruning)
    return (
        {**state.weights, "steps": torch.tensor(state.steps)},
        {f"{kind}.{n}": v for kind in ("first", "second") for n, v in getattr(state, kind).items()},
        {n: torch.from_numpy(m) for n, m in pruning["masks"].items()},
        (state.kl_coeff, pruning["env_steps"], pruning["standing"]),
    )


def same(one, other):
    return all(
        set(a) == set(b) and all(torch.equal(a[n], b[n]) for n in a)
        if isinstance(a, dict)
        else a == b
        for a, b in zip(one, other, strict=True)
    )


def test_copying_a_member_copies_all_of_it_exactly(packed_ppo, tmp_path):
    pack = Pack(packed_ppo(), 3)
    for i in range(3):
        start(pack, i, MEMBERS[i], seed=i)
    for _ in range(20):
        pack.train()
    untouched = everything(pack, 1)
    pack.state(0).save(tmp_path / "m")
    start(pack, 2, MEMBERS[0], seed=50, state=pack.state(0))
    assert same(everything(pack, 2), everything(pack, 0))
    assert same(everything(pack, 1), untouched)
    # From disk, in another pack, the same.
    other = Pack(packed_ppo(), 1)
    start(other, 0, MEMBERS[0], seed=50, state=MemberState.load(tmp_path / "m"))
    assert same(everything(other, 0), everything(pack, 0))
    for _ in range(3):
        copied, alone = pack.train()[2], other.train()[0]
        assert copied["env_steps"] == alone["env_steps"]
        torch.testing.assert_close(pack.network.weights[2], other.network.weights[0])
    # Not its donor's twin: what it does from now on is its own.
    assert not torch.equal(pack.network.weights[2], pack.network.weights[0])


def test_a_copy_with_other_hyperparameters_goes_on_from_the_donor_s_sparsity(packed_ppo):
    pack = Pack(packed_ppo(), 2)
    for i in range(2):
        start(pack, i, MEMBERS[0], seed=i)
    for _ in range(20):
        donor = pack.train()[0]
    training, pruning = MEMBERS[0]
    denser = ({**training, "lr": 1e-4}, {**pruning, "final_sparsity": 0.95, "end": 0.8})
    start(pack, 1, denser, seed=9, state=pack.state(0))
    first = pack.train()[1]["pruning"]["sparsity"]
    assert donor["pruning"]["sparsity"] <= first < donor["pruning"]["sparsity"] + 0.05
    for _ in range(25):
        last = pack.train()[1]
    assert last["pruning"]["sparsity"] == pytest.approx(0.95, abs=2e-3)


def test_a_plateau_goes_on_in_another_pack_that_measures_another_random_return(
    packed_ppo, monkeypatch
):
    # Environments that don't repeat exactly: each pack measures anew.
    measured = iter((3.0, 4.0))
    monkeypatch.setattr(
        "rllib_ext.packed.starting.random_policy_episodes",
        lambda ppo, seeds: Episodes((0,), (next(measured),), (1,)),
    )
    plateau = (
        {},
        {"schedule": "plateau", "final_sparsity": 0.9, "begin": 0.0, "end": 0.9, "step": 0.1},
    )
    pack, other = Pack(packed_ppo(), 2), Pack(packed_ppo(), 1)
    for i in range(2):
        start(pack, i, plateau, seed=i)
    # Five evaluations before the first raise, three before each that follows.
    for _ in range(14):
        pack.train()
        pack.observe(0, 100.0)
    start(other, 0, plateau, seed=9, state=pack.state(0))
    pruners = pack.pruning.pruner(0), other.pruning.pruner(0)
    assert pruners[0].standing == pruners[1].standing
    assert pruners[0].events == pruners[1].events
    assert pruners[0].events["pruned"] > 1
    # As in RLlib's Learners: what is measured last counts, and isn't part of the configuration.
    assert [p.random_return for p in pruners] == [3.0, 4.0]
    assert [p.config.random_return for p in pruners] == [None, None]


def test_a_random_return_that_is_given_is_not_measured(packed_ppo, monkeypatch):
    monkeypatch.setattr("rllib_ext.packed.starting.random_policy_episodes", None)
    pack = Pack(packed_ppo(), 1)
    start(pack, 0, ({}, {"schedule": "plateau", "random_return": 9.5}), seed=0)
    assert pack.pruning.pruner(0).random_return == 9.5


def test_a_freed_place_is_not_trained_and_can_be_taken(packed_ppo):
    pack = Pack(packed_ppo(), 3)
    start(pack, 1, MEMBERS[1], seed=1)
    assert list(pack.train()) == [1]
    start(pack, 2, MEMBERS[2], seed=2)
    before = pack.network.weights.clone()
    pack.stop(1)
    assert list(pack.train()) == [2]
    assert torch.equal(pack.network.weights[:2], before[:2])
    assert not torch.equal(pack.network.weights[2], before[2])


def test_a_state_of_another_network_and_a_damaged_one_are_refused(packed_ppo, tmp_path):
    pack, small = Pack(packed_ppo(), 1), Pack(packed_ppo(model={"fcnet_hiddens": [8]}), 1)
    for made in (pack, small):
        start(made, 0, MEMBERS[0], seed=0)
    with pytest.raises(CheckpointError, match="is of a network with"):
        start(pack, 0, MEMBERS[0], seed=0, state=small.state(0))
    with pytest.raises(CheckpointError, match="no member's training state"):
        MemberState.load(tmp_path)
    pack.state(0).save(tmp_path)
    file = next(tmp_path.iterdir())
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="no member's training state"):
        MemberState.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda ppo: ppo.training(grad_clip=1.0, grad_clip_by="value"), "grad_clip_by"),
        (lambda ppo: ppo.training(use_critic=False), "use_critic"),
        (lambda ppo: ppo.training(minibatch_size=100), "minibatch_size = 100"),
        (lambda ppo: ppo.env_runners(explore=False), "explore = False"),
        (lambda ppo: ppo.rl_module(model_config={"use_lstm": True}), "LSTM|Stateful"),
    ],
)
def test_what_cannot_be_packed_is_refused_with_the_way_out(packed_ppo, change, said):
    with pytest.raises((ConfigError), match=said):
        Pack(change(packed_ppo()), 1)


def test_a_member_s_own_setting_that_all_share_is_refused(packed_ppo):
    pack = Pack(packed_ppo(), 1)
    with pytest.raises(ConfigError, match=r"minibatch_size of a single member"):
        pack.start(0, training={"minibatch_size": 16}, pruning=DENSE, seed=0)
    with pytest.raises(ConfigError, match="horizon is missing"):
        pack.start(0, training={}, pruning=PruningConfig(), seed=0)


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        ({}, {"exclude": ("*",)}, "no prunable weights"),
        ({}, {"exclude": ("polcy.*",)}, "matches no parameter"),
        ({"vf_share_layers": True}, {"critic_final_sparsity": 0.5}, "share their encoder"),
    ],
)
def test_a_member_that_cannot_be_pruned_as_asked_is_refused(packed_ppo, model, changes, said):
    pack = Pack(packed_ppo(model=model), 1)
    with pytest.raises(ConfigError, match=said):
        pack.start(0, training={}, pruning=DENSE.replace(**changes), seed=0)
