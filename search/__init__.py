"""The search for the reward–sparsity Pareto front of a PPO policy, and the report made of it."""
