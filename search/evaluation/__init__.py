"""Policies on held-out seeds, under shift and against the clock, spread over the cluster.

May import `cluster`, `front`, `store` and `config`.
"""
