"""What a policy's network sees and answers while it, or a student, plays."""

import numpy as np
import pytest
import torch
from linear_world import Aim
from taught import dense_policy

from rllib_ext import load_policy
from rllib_ext.envs.env_maker import env_maker
from rllib_ext.evaluation.evaluator import Evaluator
from search.training.demonstrations import Demonstration, demonstrate


@pytest.fixture
def play(small_ppo, tmp_path):
    """Demonstrates in an environment, with a policy that has hardly trained."""

    def of(env, student=None, seeds=(3, 4), **config):
        ppo = small_ppo(env).environment(env, env_config=config)
        dense, _ = dense_policy(tmp_path, ppo, 256)
        evaluator = Evaluator(env_maker(ppo))
        policy = load_policy(tmp_path / dense)
        shown = demonstrate(policy, evaluator, seeds, student)
        return shown, evaluator.run(policy, seeds), policy

    return of


@pytest.mark.parametrize("env", ["CartPole-v1", Aim])
def test_every_step_is_noted_with_the_networks_answer(play, env):
    shown, episodes, policy = play(env)
    assert shown.env_steps == sum(episodes.lengths) == len(shown.inputs) == len(shown.outputs)
    with torch.no_grad():
        again = policy.module.forward_inference({"obs": torch.from_numpy(shown.inputs)})
    np.testing.assert_allclose(again["action_dist_inputs"], shown.outputs, atol=1e-5)
    # Native environments step in place: what was seen first is still there.
    assert len(np.unique(shown.inputs, axis=0)) > 10


def test_a_student_plays_and_the_teacher_answers(play):
    def left(seen):
        return torch.tensor([[1.0, 0.0]]).repeat(len(seen), 1)

    shown, _, policy = play("CartPole-v1", left)
    # Always pushing left ends an episode after some ten steps.
    assert shown.env_steps < 25
    with torch.no_grad():
        own = policy.module.forward_inference({"obs": torch.from_numpy(shown.inputs)})
    np.testing.assert_allclose(own["action_dist_inputs"], shown.outputs, atol=1e-5)


def test_of_many_steps_some_are_taken_evenly():
    steps = np.arange(100.0)[:, None]
    thin = Demonstration(steps, -steps, 100).thinned(11)
    assert thin.inputs[:, 0].tolist() == [0, 9, 19, 29, 39, 49, 59, 69, 79, 89, 99]
    assert (thin.outputs == -thin.inputs).all()
    both = thin.joined(Demonstration(steps, -steps, 7))
    assert (len(both.inputs), both.env_steps) == (111, 107)
