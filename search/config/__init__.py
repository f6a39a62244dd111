"""The configuration of an experiment: settings, reading and checks. Imports neither Ray nor torch.

May import only plain values of `rllib_ext`.
"""
