"""Checks settings that must be a class or a function, where RLlib stores whatever it is given."""

from __future__ import annotations

from ray.rllib.algorithms.ppo import PPOConfig

from rllib_ext.pruning.errors import ConfigError

# By attribute of `PPOConfig`: the method and the argument that set it, and what is expected.
_EXPECTED = {
    "env_runner_cls": ("env_runners", "env_runner_cls", "an EnvRunner class"),
    "_env_to_module_connector": (
        "env_runners",
        "env_to_module_connector",
        "a function (env, spaces, device) that returns connectors",
    ),
    "_module_to_env_connector": (
        "env_runners",
        "module_to_env_connector",
        "a function (env, spaces, device) that returns connectors",
    ),
    "_learner_class": ("learners", "learner_class", "a Learner class"),
    "_learner_connector": (
        "learners",
        "learner_connector",
        "a function (observation space, action space) that returns connectors",
    ),
}


def refuse_other_than_classes(ppo: PPOConfig) -> None:
    """Checks that every setting that RLlib will call is a class or a function.

    Args:
        ppo: Any PPO configuration.

    Raises:
        ConfigError: Something else is there, such as a class's name.
    """
    for attribute, (method, argument, what) in _EXPECTED.items():
        _refuse(getattr(ppo, attribute), f"{method}.{argument}", what)
    spec = ppo._rl_module_spec
    if spec is not None and not hasattr(spec, "build"):
        raise ConfigError(
            f"ppo.rl_module.rl_module_spec = {spec!r}; expected an RLModuleSpec, such as "
            "RLModuleSpec(module_class=YourModule)."
        )
    for argument, what in (
        ("module_class", "an RLModule class"),
        ("catalog_class", "a Catalog class"),
    ):
        _refuse(getattr(spec, argument, None), f"rl_module.rl_module_spec.{argument}", what)


def _refuse(given: object, where: str, what: str) -> None:
    if given is None or callable(given):
        return
    kind = "text" if isinstance(given, str) else f"a {type(given).__name__}"
    raise ConfigError(
        f"ppo.{where} = {given!r} is {kind}; expected {what} itself, imported; in a YAML file "
        "written as 'package.module:Name'."
    )
