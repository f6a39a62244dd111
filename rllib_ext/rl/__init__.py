"""Pruning inside RLlib's PPO: the Learner, the callback, and `with_pruning`, which composes them.

May import `evaluation`, `envs`, `pruning` and `base`.
"""
