"""A policy by itself: on disk, acting, measured.

May import `rl`, `evaluation`, `envs`, `pruning` and `base`.
"""
