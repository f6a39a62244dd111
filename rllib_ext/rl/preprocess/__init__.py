"""What PPO trains on in place of what the environment gives: normalised, stacked, clipped."""
