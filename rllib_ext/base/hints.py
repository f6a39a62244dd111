"""Hints at what was probably meant. Imports neither Ray nor torch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

# What other libraries, and RLlib's old API stack, call arguments of `PPOConfig.training`.
ELSEWHERE = {
    "learning_rate": "lr",
    "discount": "gamma",
    "lambda": "lambda_",
    "gae_lambda": "lambda_",
    "clip_range": "clip_param",
    "clip_coef": "clip_param",
    "clip_range_vf": "vf_clip_param",
    "ent_coef": "entropy_coeff",
    "entropy_coef": "entropy_coeff",
    "vf_coef": "vf_loss_coeff",
    "target_kl": "kl_target",
    "max_grad_norm": "grad_clip",
    "n_epochs": "num_epochs",
    "update_epochs": "num_epochs",
    "num_sgd_iter": "num_epochs",
    "batch_size": "minibatch_size",
    "sgd_minibatch_size": "minibatch_size",
    "n_steps": "train_batch_size_per_learner",
    "norm_obs": "normalize",
    "norm_reward": "normalize",
    "n_stack": "frame_stack",
}


def nearest(word: str, known: Iterable[str], others: Mapping[str, str] | None = None) -> str:
    """Returns a hint at what was probably meant, to append to a message; empty if there is none.

    Args:
        word: The given word.
        known: Valid words.
        others: Names that other libraries use for valid words.
    """
    known = list(known)
    meant = (others or {}).get(word)
    near = [meant] if meant in known else difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(known)}." if known else ""
