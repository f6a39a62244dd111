"""Whole runs: a search, a retraining, pruning a checkpoint, and what is checked before each.

May import every wing but `cli`.
"""
