"""When and how far to prune: schedules, the plateau rule and the pure decision.

May import the files of `pruning` itself.
"""
