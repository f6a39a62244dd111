"""An experiment's configuration: what can be set, read and checked. Imports neither Ray nor torch.

May import `rllib_ext`'s plain values only.
"""
