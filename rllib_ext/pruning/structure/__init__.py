"""What a network consists of: which units reach which, what goes together, what is left.

May import the files of `pruning` itself.
"""
