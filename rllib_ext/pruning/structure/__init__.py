"""The structure of a network: how units are connected, what is pruned together, what is left.

May import the files of `pruning` itself.
"""
