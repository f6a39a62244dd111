"""RLlib's own checkpoints: what they are, starting from one, pruning one.

May import `policy`, `rl`, `evaluation`, `envs`, `pruning` and `base`.
"""
