"""Checks of PPO configurations: ranges of values, and settings that RLlib would silently ignore."""
