"""Environments: how they are built, native versions, and shifts of an evaluation from training.

May import `base` and `pruning.errors`.
"""
