"""The population: decides who trains next, from where and with what. Imports neither Ray nor torch.

May import `front`, `store` and `config`.
"""
