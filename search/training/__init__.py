"""Training of members with Ray Tune: the engines, the PPO configuration, and trained baselines.

May import `evaluation`, `cluster`, `population`, `front`, `store` and `config`.
"""
