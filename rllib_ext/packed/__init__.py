"""P members stacked in one process: own weights, masks, moments and hyperparameters each."""
