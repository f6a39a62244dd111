"""What all tests share: quiet logs, one torch thread, one local Ray cluster, a small PPO."""

import inspect
import logging
import os
import shutil
import signal
import sys

# Before torch and Ray are imported: both read the environment then.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
# Ray starts its workers at niceness 15: beside a second worker of pytest they would starve.
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Thousands of small folders are written and removed: on a disk that takes longer than what is tested.
if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free >= 4 * 2**30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")
# A job in the background of a shell has SIGINT ignored, and all processes below it inherit that: the
# commands whose interruption is tested would never hear of it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest


def pytest_collection_modifyitems(items):
    """Tests marked `ray` share the cluster; real runs begin first, so that no worker waits for one."""
    for item in items:
        if item.get_closest_marker("ray"):
            item.fixturenames.insert(0, "ray_cluster")
    items.sort(key=lambda item: item.get_closest_marker("everyday") is None)


@pytest.fixture(scope="session", autouse=True)
def stacks_without_lines():
    """Each of RLlib's connectors asks for the stack to look at its caller: 50 frames under pytest.

    Reading the line of each, which nobody looks at, takes a tenth of a second a connector: more than
    everything else that builds an algorithm.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", _callers)
        yield


def _callers(context=0):
    frames, frame = [], sys._getframe(1)
    while frame:
        code = frame.f_code
        seen = (frame, code.co_filename, frame.f_lineno, code.co_name, None, None)
        frames.append(inspect.FrameInfo(*seen))
        frame = frame.f_back
    return frames


@pytest.fixture(scope="session")
def ray_cluster():
    """One local cluster, started by the first test that needs it."""
    import ray
    import torch

    torch.set_num_threads(1)
    for name in ("ray", "ray.rllib", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def small_ppo():
    """Builds PPO configurations that train one iteration of 256 steps in a tenth of a second."""

    def build(env="CartPole-v1", **training):
        from ray.rllib.algorithms.ppo import PPOConfig

        values = {
            "train_batch_size_per_learner": 256,
            "minibatch_size": 128,
            "num_epochs": 2,
            "lr": 1e-3,
            **training,
        }
        return (
            PPOConfig()
            .environment(env)
            .env_runners(num_env_runners=0, num_envs_per_env_runner=4)
            .learners(num_learners=0)
            .training(**values)
            .rl_module(model_config={"fcnet_hiddens": [16, 16]})
            .debugging(seed=7, log_level="ERROR")
        )

    return build


@pytest.fixture(scope="session")
def ppo_checkpoint(ray_cluster, small_ppo, tmp_path_factory):
    """A checkpoint that plain RLlib wrote: CartPole, 352 weights on each path, better than random."""
    folder = tmp_path_factory.mktemp("plain") / "checkpoint"
    algorithm = small_ppo(lr=3e-3, num_epochs=6).build_algo()
    try:
        for _ in range(8):
            algorithm.train()
        algorithm.save_to_path(folder)
    finally:
        algorithm.stop()
    return folder
