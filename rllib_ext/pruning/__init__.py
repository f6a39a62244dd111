"""Mask-based pruning of torch modules: scores, masks, schedules. Imports neither Ray nor Gymnasium.

This file stays light: configuration and errors need no torch.
"""
