"""Fresh episodes with given seeds, and the policies that every other one is compared with.

May import `envs`, `base` and `pruning`.
"""
