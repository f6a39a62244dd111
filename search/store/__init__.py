"""A results folder: records, files, the lock, what is lost or removed. No Ray, no torch.

May import `config`.
"""
