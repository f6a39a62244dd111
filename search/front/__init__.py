"""The reward–sparsity front and its analysis, computed from records. Imports neither Ray nor torch.

May import only `store` and `config`.
"""
