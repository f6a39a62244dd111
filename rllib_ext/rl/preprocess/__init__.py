"""Preprocessing of what PPO trains on: normalised, stacked or clipped observations, scaled rewards."""
