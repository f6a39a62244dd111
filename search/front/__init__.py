"""From records to the reward–sparsity front and all that is said of it. Imports neither Ray nor torch.

May import `store` and `config`.
"""
