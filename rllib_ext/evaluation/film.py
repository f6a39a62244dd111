"""One episode of a policy as a small animation, where its environment renders pictures."""

from __future__ import annotations

import dataclasses
import io
import math
import os
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_ext.base.extras import install
from rllib_ext.envs.copied_observations import CopiedObservations
from rllib_ext.envs.env_maker import env_maker, env_name
from rllib_ext.evaluation.evaluator import MAX_EPISODE_STEPS, Policy
from rllib_ext.pruning.errors import PrunefrontError

PICTURES = "rgb_array"
# What an animation has at most: pictures, pixels across, bytes.
FRAMES, WIDTH, BYTES = 90, 300, 300_000
# Where an environment doesn't say how fast it is.
FPS = 30
# No faster than a screen, and no slower than an eye takes for motion, in milliseconds a picture.
SHORTEST, LONGEST = 40, 150

Frame = NDArray[np.uint8]


class NoFilmError(PrunefrontError):
    """An episode can't be shown; says why."""


@dataclasses.dataclass(frozen=True)
class Film:
    """An episode, ready for a page.

    Attributes:
        moving: An animated WebP, `BYTES` at most.
        still: One picture of it, as WebP.
        seed: Reset seed of the environment.
        returned: The episode's return.
        steps: Its env steps.
        speed: Factor by which it is faster than the environment's own rate.
        width: Width of a picture, in pixels.
        height: The same downwards.
    """

    moving: bytes
    still: bytes
    seed: int
    returned: float
    steps: int
    speed: float
    width: int
    height: int


def film(policy: Policy, config: AlgorithmConfig, seed: int, length: int) -> Film:
    """Plays one episode and films it.

    Args:
        policy: Acts in the environment.
        config: PPO configuration that names the environment.
        seed: Reset seed of the environment.
        length: Env steps that the episode is known to last: pictures are spread over them.

    Raises:
        NoFilmError: The environment doesn't render pictures, or Pillow isn't installed.
    """
    stride = max(1, math.ceil(length / (FRAMES - 1)))
    env = _rendering(config)
    try:
        fps = float(env.metadata.get("render_fps") or FPS)
        frames, returned, steps = _played(policy, CopiedObservations(env), seed, stride)
    finally:
        env.close()
    duration = min(LONGEST, max(SHORTEST, round(1000 * stride / fps)))
    moving, still, (width, height), thinned = _encoded(frames, duration)
    shown = duration * thinned * len(frames[::thinned]) / 1000
    return Film(moving, still, seed, returned, steps, steps / fps / shown, width, height)


def _rendering(config: AlgorithmConfig) -> gymnasium.Env[Any, Any]:
    """The environment, built so that it renders pictures."""
    name = env_name(config)
    plain = env_maker(config)()
    modes = plain.metadata.get("render_modes") or ()
    if plain.render_mode == PICTURES:
        return plain
    plain.close()
    if PICTURES not in modes:
        raise NoFilmError(f"{name} does not render pictures (render mode {PICTURES!r})")
    # Only pictures are wanted, which pygame draws without a loudspeaker and without a greeting.
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if not os.environ.get("DISPLAY"):
        # Without a screen MuJoCo finds its way by this, and pygame by that.
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    shown = config.copy(copy_frozen=False)
    shown.environment(env_config={**config.env_config, "render_mode": PICTURES})
    try:
        env = env_maker(shown)()
    except (PrunefrontError, TypeError) as error:
        raise NoFilmError(f"{name} takes no render_mode={PICTURES!r}") from error
    if env.render_mode != PICTURES:
        env.close()
        raise NoFilmError(f"{name} does not heed render_mode={PICTURES!r} in env_config")
    return env


def _played(
    policy: Policy, env: gymnasium.Env[Any, Any], seed: int, stride: int
) -> tuple[list[Frame], float, int]:
    frames: list[Frame] = []
    policy.begin([seed])
    observation, _ = env.reset(seed=seed)
    reward, returned, steps, over = 0.0, 0.0, 0, False
    while not over:
        if steps % stride == 0 and len(frames) < 2 * FRAMES:
            frames.append(_picture(env))
        action = policy.act([0], [observation], [reward])[0]
        observation, given, terminated, truncated, _ = env.step(action)
        reward = float(given)
        returned += reward
        steps += 1
        over = terminated or truncated or steps >= MAX_EPISODE_STEPS
    frames.append(_picture(env))
    return frames, returned, steps


def _picture(env: gymnasium.Env[Any, Any]) -> Frame:
    try:
        picture = env.render()
    except gymnasium.error.DependencyNotInstalled as error:
        raise NoFilmError(f"{error} For the report's film: {install('render')}") from error
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] < 3:
        raise NoFilmError("what the environment renders is no picture of three colours")
    whole = np.asarray(picture[..., :3], np.uint8)
    # Rough and fast: memory holds all of them until they are encoded.
    step = max(1, whole.shape[1] // (2 * WIDTH))
    return np.ascontiguousarray(whole[::step, ::step])


def _encoded(frames: list[Frame], duration: int) -> tuple[bytes, bytes, tuple[int, int], int]:
    """The animation, a still, the size, and every how many-th picture it shows."""
    try:
        from PIL import Image
    except ImportError as error:
        raise NoFilmError(f"encoding a film needs Pillow: {install('render')}") from error
    height, width = frames[0].shape[:2]
    scale = min(1.0, WIDTH / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = [Image.fromarray(frame).resize(size) for frame in frames]
    still = io.BytesIO()
    small[len(small) // 3].save(still, "WEBP", quality=70)
    for thinned, quality in ((1, 60), (1, 30), (2, 30), (4, 20), (8, 10)):
        moving = io.BytesIO()
        first, *others = small[::thinned]
        first.save(
            moving, "WEBP", save_all=True, append_images=others, duration=duration * thinned,
            loop=0, quality=quality, method=2,
        )  # fmt: skip
        if moving.tell() <= BYTES:
            return moving.getvalue(), still.getvalue(), size, thinned
    raise NoFilmError(f"an episode's pictures take more than {BYTES:,} bytes")
