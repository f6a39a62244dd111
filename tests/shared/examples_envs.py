"""RLlib's own example environments, connectors and callbacks, as small PPO configurations."""

from pathlib import Path

import gymnasium as gym
import numpy as np
from example_scripts import STEPS, Example, limited, plain, script, small
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.examples.connectors.classes.count_based_curiosity import CountBasedCuriosity
from ray.rllib.examples.connectors.classes.euclidian_distance_based_curiosity import (
    EuclidianDistanceBasedCuriosity,
)
from ray.rllib.examples.connectors.mean_std_filtering import LopsidedObs
from ray.rllib.examples.connectors.single_agent_observation_preprocessor import (
    ReduceCartPoleObservationsToNonMarkovian,
)
from ray.rllib.examples.envs.classes.cartpole_sparse_rewards import CartPoleSparseRewards
from ray.rllib.examples.envs.classes.cliff_walking_wall_env import CliffWalkingWallEnv
from ray.rllib.examples.envs.classes.correlated_actions_env import CorrelatedActionsEnv
from ray.rllib.examples.envs.classes.debug_counter_env import DebugCounterEnv
from ray.rllib.examples.envs.classes.nested_space_repeat_after_me_env import (
    NestedSpaceRepeatAfterMeEnv,
)
from ray.rllib.examples.envs.classes.random_env import RandomEnv
from ray.rllib.examples.envs.classes.repeat_after_me_env import RepeatAfterMeEnv
from ray.rllib.examples.envs.classes.repeat_initial_obs_env import RepeatInitialObsEnv
from ray.rllib.examples.envs.classes.simple_corridor import SimpleCorridor
from ray.rllib.examples.envs.classes.six_room_env import SixRoomEnv
from ray.rllib.examples.envs.classes.stateless_cartpole import StatelessCartPole
from ray.rllib.examples.envs.classes.stateless_pendulum import StatelessPendulum
from ray.rllib.examples.envs.classes.transformed_action_space_env import (
    TransformedActionPendulum,
)
from ray.rllib.examples.envs.classes.windy_maze_env import WindyMazeEnv
from ray.rllib.examples.envs.custom_env_render_method import CustomRenderedCorridorEnv
from ray.tune.registry import register_env

IMAGE = Box(0.0, 1.0, (10, 10, 1), np.float32)
RECURRENT = {"use_lstm": True, "fcnet_hiddens": [12]}


def flat(config: PPOConfig) -> PPOConfig:
    """Observations of any space as one vector."""
    return config.env_runners(env_to_module_connector=lambda env, spaces, device: _flatten())


def _flatten() -> FlattenObservations:
    return FlattenObservations()


def flattened_dict(folder: Path) -> PPOConfig:
    return small(script("connectors.flatten_observations_dict_space"))


def frame_stacking(folder: Path) -> PPOConfig:
    config = script("connectors.frame_stacking", "--num-frames=3")
    config.environment(RandomEnv, env_config={"observation_space": IMAGE, "max_episode_len": 15})
    filters = [(4, 3, 2), (8, 3, 2)]
    return small(config, conv_filters=filters, head_fcnet_hiddens=[16])


def mean_std_filtering(folder: Path) -> PPOConfig:
    config = small(script("connectors.mean_std_filtering"))
    register_env(
        "lopsided-pend",
        lambda _: gym.wrappers.TimeLimit(LopsidedObs(gym.make("Pendulum-v1")), STEPS),
    )
    return config


def previous_actions(folder: Path) -> PPOConfig:
    return small(script("connectors.prev_actions_prev_rewards", "--n-prev-actions=2"))


def preprocessed_observations(folder: Path) -> PPOConfig:
    config = small(script("connectors.single_agent_observation_preprocessor"))
    return config.env_runners(
        env_to_module_connector=lambda env, spaces, device: (
            ReduceCartPoleObservationsToNonMarkovian()
        )
    )


def protobuf_observations(folder: Path) -> PPOConfig:
    return small(script("envs.env_w_protobuf_observations"))


def counted_observations(folder: Path) -> PPOConfig:
    config = plain(limited(SimpleCorridor))
    return config.training(learner_connector=lambda *_: CountBasedCuriosity())


def distant_observations(folder: Path) -> PPOConfig:
    config = plain("CartPole-v1")
    return config.training(learner_connector=lambda *_: EuclidianDistanceBasedCuriosity())


def corridor(folder: Path) -> PPOConfig:
    config = small(script("envs.custom_gym_env", "--corridor-length=5"))
    length = config.env_config["corridor_length"]
    return config.environment(limited(SimpleCorridor, config={"corridor_length": length}))


def rendered_corridor(folder: Path) -> PPOConfig:
    options = {"corridor_length": 5, "max_steps": 20}
    return plain(CustomRenderedCorridorEnv, options)


def repeat_after_me(folder: Path) -> PPOConfig:
    return flat(plain(RepeatAfterMeEnv, {"repeat_delay": 1, "episode_len": 20}, **RECURRENT))


def repeat_after_me_continuous(folder: Path) -> PPOConfig:
    return plain(RepeatAfterMeEnv, {"continuous": True, "repeat_delay": 0, "episode_len": 20})


def nested_actions(folder: Path) -> PPOConfig:
    return flat(plain(NestedSpaceRepeatAfterMeEnv, {"episode_len": 20}))


def dict_actions(folder: Path) -> PPOConfig:
    space = gym.spaces.Dict({"b": Discrete(3), "a": gym.spaces.Tuple([Box(-1, 1, (2,))])})
    return flat(plain(NestedSpaceRepeatAfterMeEnv, {"episode_len": 20, "space": space}))


def discrete_actions(folder: Path) -> PPOConfig:
    spaces = {"action_space": MultiDiscrete([2, 3, 4]), "observation_space": Box(-1, 1, (5,))}
    return plain(RandomEnv, {**spaces, "max_episode_len": 15, "check_action_bounds": True})


EXAMPLES = [
    Example("connectors/flatten_observations_dict_space", flattened_dict, critic=0.0),
    Example("connectors/frame_stacking", frame_stacking, critic=0.0, repeats=False),
    Example("connectors/mean_std_filtering", mean_std_filtering, critic=0.0),
    Example("connectors/prev_actions_prev_rewards", previous_actions, critic=0.0),
    Example("connectors/observation_preprocessor", preprocessed_observations, critic=0.0),
    Example("connectors/protobuf_decoder", protobuf_observations, critic=0.0),
    Example("connectors/CountBasedCuriosity", counted_observations),
    Example("connectors/EuclidianDistanceBasedCuriosity", distant_observations),
    Example("envs/custom_gym_env", corridor, critic=0.0, repeats=False),
    Example("envs/custom_env_render_method", rendered_corridor),
    Example("envs/RepeatAfterMeEnv", repeat_after_me, repeats=False),
    Example("envs/RepeatAfterMeEnv_continuous", repeat_after_me_continuous, repeats=False),
    Example("envs/NestedSpaceRepeatAfterMeEnv", nested_actions, repeats=False),
    Example("envs/NestedSpaceRepeatAfterMeEnv_dict", dict_actions, repeats=False),
    Example("envs/RandomEnv_multi_discrete", discrete_actions, repeats=False),
    Example("envs/StatelessCartPole", lambda folder: plain(StatelessCartPole, **RECURRENT)),
    Example(
        "envs/StatelessPendulum",
        lambda folder: plain(limited(StatelessPendulum), use_lstm=True, vf_share_layers=True),
        critic=0.0,
    ),
    Example("envs/CliffWalkingWallEnv", lambda folder: flat(plain(limited(CliffWalkingWallEnv)))),
    Example("envs/CorrelatedActionsEnv", lambda folder: plain(CorrelatedActionsEnv), repeats=False),
    Example(
        "envs/CartPoleSparseRewards",
        lambda folder: flat(plain(CartPoleSparseRewards)),
        repeats=False,
    ),
    Example("envs/DebugCounterEnv", lambda folder: plain(DebugCounterEnv)),
    Example(
        "envs/RepeatInitialObsEnv",
        lambda folder: flat(plain(limited(RepeatInitialObsEnv))),
        repeats=False,
    ),
    Example("envs/SixRoomEnv", lambda folder: flat(plain(limited(SixRoomEnv, config={})))),
    Example(
        "envs/TransformedActionPendulum",
        lambda folder: plain(limited(TransformedActionPendulum, config={})),
    ),
    Example("envs/WindyMazeEnv", lambda folder: flat(plain(WindyMazeEnv)), repeats=False),
]
