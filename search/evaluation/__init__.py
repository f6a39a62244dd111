"""Evaluates policies on held-out seeds and under shift, over the cluster; measures their latencies.

May import only `cluster`, `front`, `store` and `config`.
"""
