"""Complete runs: a search, a retraining, pruning a checkpoint, and the checks before each.

May import every wing but `cli`.
"""
