"""The interface to stable-baselines3 and to sbx, its twin in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stable_baselines3.common.env_util import make_vec_env

from benchmarks.shared.turns import take_turns


def built(algorithm: Any, env: str, ppo: dict[str, Any], activation: Any) -> Any:
    """Builds a PPO of either library.

    Args:
        algorithm: Class of the algorithm.
        env: A Gymnasium id.
        ppo: `benchmarks.packed.PPO`.
        activation: Activation of hidden layers, in the form that the library expects.
    """
    return algorithm(
        "MlpPolicy",
        make_vec_env(env, n_envs=ppo["envs"]),
        n_steps=ppo["batch"] // ppo["envs"],
        batch_size=ppo["minibatch"],
        n_epochs=ppo["epochs"],
        learning_rate=ppo["lr"],
        gamma=ppo["gamma"],
        gae_lambda=ppo["lambda"],
        clip_range=ppo["clip"],
        ent_coef=ppo["entropy"],
        vf_coef=ppo["value"],
        max_grad_norm=ppo["grad_clip"],
        policy_kwargs={
            "net_arch": {"pi": ppo["hidden"], "vf": ppo["hidden"]},
            "activation_fn": activation,
        },
        device="cpu",
        seed=0,
    )


def train_in_turns(model: Any, batch: int, adam_steps: Callable[[], int]) -> None:
    """Trains one batch at a time whenever it is the model's turn.

    Args:
        model: Model that `built` returned.
        batch: Env steps of a batch.
        adam_steps: Returns the number of Adam steps taken so far.
    """

    def train() -> int:
        before = model.num_timesteps
        model.learn(batch, reset_num_timesteps=False)
        return int(model.num_timesteps) - before

    take_turns(train, adam_steps)
