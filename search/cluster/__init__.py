"""The Ray cluster: connecting, its machines, jobs, tasks, and what is tried again.

May import `store` and `config`.
"""
