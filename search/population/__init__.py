"""Who trains next, from where and with which hyperparameters. Imports neither Ray nor torch.

May import `front`, `store` and `config`.
"""
