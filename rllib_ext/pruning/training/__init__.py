"""Pruning while a network trains: masks chosen, enforced, taken back, and what they are chosen by.

May import `structure`, `schedule` and the files of `pruning` itself.
"""
