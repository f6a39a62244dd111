"""Environments: how they are built, native versions, and how an evaluation may differ from training.

May import `base` and `pruning.errors`.
"""
