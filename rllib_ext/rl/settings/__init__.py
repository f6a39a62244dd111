"""What a PPO configuration can say: ranges, and what RLlib would take and pass over in silence."""
