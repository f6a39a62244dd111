"""Which arguments of RLlib's config methods its new API stack never reads: found in Ray's source."""

import inspect
import re
from pathlib import Path

import pytest
import ray.rllib
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.settings.ignored import (
    IGNORED,
    NOT_STORED,
    refuse_ignored,
    refuse_ignored_argument,
)

METHODS = ("environment", "env_runners", "training", "rl_module", "learners")
# What a search of PPO on the new stack with one policy and its own environment runs of RLlib.
NEW_STACK = (
    "algorithms/algorithm.py",
    "algorithms/ppo/default_ppo_rl_module.py",
    "algorithms/ppo/ppo_catalog.py",
    "algorithms/ppo/ppo_learner.py",
    "algorithms/ppo/torch/*.py",
    "callbacks/**/*.py",
    "connectors/common/*.py",
    "connectors/connector*_v2.py",
    "connectors/env_to_module/*.py",
    "connectors/learner/*.py",
    "connectors/module_to_env/*.py",
    "core/**/*.py",
    "env/env_runner.py",
    "env/env_runner_group.py",
    "env/single_agent_env_runner.py",
    "utils/framework.py",
    "utils/minibatch_utils.py",
)
# Read by name in those modules, but on the old stack's branches only, or without an effect.
OLD_BRANCHES = {
    "observation_filter": "Algorithm._sync_filters_if_needed, which the old stack calls",
    "use_worker_filter_stats": "`not config.enable_env_runner_and_connector_v2 and`",
    "update_worker_filter_stats": "`not config.enable_env_runner_and_connector_v2 and`",
    "remote_worker_envs": "told to the environment (EnvContext), as a thing that it may want to know",
    "enable_tf1_exec_eagerly": "TensorFlow",
    "vf_share_layers": "of model_config, not of training()",
    "model": "attributes of other objects",
    "optimizer": "attributes of other objects",
}
# Read by none of them, and yet as asked.
AS_ASKED = {
    "disable_env_checking": "no check of a single agent's environment is there to be disabled",
    # Of the configuration class itself, which the new stack asks for what follows from them.
    "train_batch_size": "AlgorithmConfig.train_batch_size_per_learner",
    "model_config": "AlgorithmConfig.get_rl_module_spec",
    "learner_config_dict": "for a Learner of the user's own",
    "env_runner_state_server_max_concurrency": "the actor options of env_runner_state_server",
    "model_config_dict": "an earlier name of model_config, which RLlib still takes",
    "max_requests_in_flight_per_sampler_worker": "an earlier name, which RLlib still takes",
    "num_sgd_iter": "an earlier name of num_epochs, which RLlib still takes",
}


def arguments():
    for method in METHODS:
        for owner in PPOConfig.__mro__:
            if method in vars(owner):
                names = inspect.signature(vars(owner)[method]).parameters
                yield from ((method, name) for name in names if name not in ("self", "kwargs"))


def refused_by_rllib(method, name):
    try:
        getattr(PPOConfig(), method)(**{name: 1})
    except ValueError:
        return True
    return False


@pytest.fixture(scope="module")
def new_stack():
    root = Path(ray.rllib.__file__).parent
    return "\n".join(path.read_text() for glob in NEW_STACK for path in sorted(root.glob(glob)))


def is_read(name, source):
    of_config = r"""config\w*(?:\(\w+\))?(?:\.(?:build_|get_)?|\[["'])"""
    return re.search(rf"{of_config}_?{name}\b", source) is not None


@pytest.mark.parametrize(("method", "name"), sorted(set(arguments())))
def test_every_argument_is_read_by_the_new_stack_or_refused(method, name, new_stack):
    if (method, name) in IGNORED:
        assert name in OLD_BRANCHES or not is_read(name, new_stack)
    else:
        read = is_read(name, new_stack)
        assert read or name in AS_ASKED or refused_by_rllib(method, name), (method, name)


def test_no_argument_is_refused_that_ray_does_not_have():
    assert set(IGNORED) <= set(arguments())


def test_what_ray_marks_as_the_old_stacks_is_refused():
    for method in METHODS:
        for owner in PPOConfig.__mro__:
            lines = inspect.getsource(vars(owner)[method]) if method in vars(owner) else ""
            for name in re.findall(r"^ +(\w+):.*# @OldAPIStack$", lines, re.MULTILINE):
                assert (method, name) in IGNORED, (method, name)


OTHER = {
    "observation_filter": "MeanStdFilter",
    "preprocessor_pref": None,
    "model": {"fcnet_hiddens": [8]},
    "optimizer": {"type": "sgd"},
    "lr_schedule": [[0, 1e-3]],
    "entropy_coeff_schedule": [[0, 1e-3]],
    "exploration_config": {"type": "EpsilonGreedy"},
    "clip_rewards": 1.0,
    "use_gae": False,
    "use_worker_filter_stats": False,
    "update_worker_filter_stats": False,
}


@pytest.mark.parametrize(("method", "name"), sorted(IGNORED))
def test_what_is_ignored_is_refused_with_what_does_it_instead(method, name):
    value = OTHER.get(name, True)
    if name in NOT_STORED:
        with pytest.raises(ConfigError, match=f"ppo.{method}.{name} = True.* ignores it") as caught:
            refuse_ignored_argument(method, name, True)
    else:
        ppo = getattr(PPOConfig(), method)(**{name: value})
        with pytest.raises(ConfigError, match=f"ppo.{method}.{name} = .* ignores it") as caught:
            refuse_ignored(ppo)
    assert "Instead, " in str(caught.value)
    assert "rllib engine" not in str(caught.value)


def test_the_connector_that_a_refusal_names_is_there():
    with pytest.raises(ConfigError, match=r"env_to_module:FlattenObservations") as caught:
        refuse_ignored(PPOConfig().env_runners(preprocessor_pref=None))
    for name in re.findall(r"ray\.rllib\.[\w.]+[.:][A-Z]\w+", " ".join(IGNORED.values())):
        module, _, attribute = name.replace(":", ".").rpartition(".")
        assert hasattr(__import__(module, fromlist=[attribute]), attribute), name
    assert "env_to_module_connector" in str(caught.value)
    with pytest.raises(ConfigError, match=r"ppo\.preprocess\.normalize: observations"):
        refuse_ignored(PPOConfig().env_runners(observation_filter="MeanStdFilter"))


def test_values_that_ask_for_nothing_are_accepted():
    ppo = PPOConfig().env_runners(observation_filter="NoFilter", compress_observations=False)
    refuse_ignored(ppo.training(use_gae=True, optimizer={}))
    ppo.validate()
    refuse_ignored(ppo)
