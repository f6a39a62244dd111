"""Environments that are stepped many at a time: what Gymnasium's single ones do, in arrays."""
