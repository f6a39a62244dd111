"""A member of a population: its segments, its snapshots, and the trainable that Ray Tune runs.

May import every wing except `packed`.
"""
