"""A results folder: records, files, the lock, losses and deletion. Imports neither Ray nor torch.

May import only `config`.
"""
