"""A quiet Ray cluster on this machine."""

from __future__ import annotations

import logging

import ray


def start_ray(cpus: int) -> None:
    """Starts a cluster unless one is running."""
    if ray.is_initialized():
        return
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
