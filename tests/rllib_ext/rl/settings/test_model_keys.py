"""What RLlib's own network reads of `model_config`."""

import dataclasses
import re
from pathlib import Path

import pytest
import ray.rllib
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_ext.pruning.errors import ConfigError
from rllib_ext.rl.settings.model_keys import UNREAD, refuse_unknown_model_keys


class OwnModule(DefaultPPOTorchRLModule):
    pass


class OwnCatalog(PPOCatalog):
    pass


def with_model(**model_config):
    return PPOConfig().rl_module(model_config=model_config)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fcnet_hidden": [8, 8]}, "'fcnet_hidden' is no key .* Did you mean 'fcnet_hiddens'"),
        ({"vf_share_layer": True}, "Did you mean 'vf_share_layers'"),
        ({"lstm_use_prev_action": True}, "'lstm_use_prev_action' = True.*PrevActionsPrevRewards"),
        ({"fusionnet_hiddens": [8]}, r"'fusionnet_hiddens' = \[8\].*passes over it"),
        ({"fcnet_hiddens": 64}, r"'fcnet_hiddens' = 64; expected the sizes of layers"),
        ({"fcnet_hiddens": [64, 0]}, "each 1 or more"),
        ({"head_fcnet_hiddens": ["8"]}, "'head_fcnet_hiddens'"),
    ],
)
def test_what_rllibs_network_would_pass_over_is_refused(given, message):
    spec = RLModuleSpec(module_class=DefaultPPOTorchRLModule, model_config=given)
    for ppo in (with_model(**given), PPOConfig().rl_module(rl_module_spec=spec)):
        with pytest.raises(ConfigError, match=message):
            refuse_unknown_model_keys(ppo)


def test_modules_and_catalogs_of_the_users_own_take_any_key():
    for spec in (RLModuleSpec(module_class=OwnModule), RLModuleSpec(catalog_class=OwnCatalog)):
        ppo = PPOConfig().rl_module(rl_module_spec=spec, model_config={"mine": 3})
        refuse_unknown_model_keys(ppo)


def test_all_that_is_known_is_accepted():
    refuse_unknown_model_keys(PPOConfig().rl_module(model_config=DefaultModelConfig()))
    refuse_unknown_model_keys(with_model(**dataclasses.asdict(DefaultModelConfig())))
    refuse_unknown_model_keys(with_model(fcnet_hiddens=[16, 16], use_lstm=True, conv_filters=None))
    refuse_unknown_model_keys(with_model(fcnet_hiddens=()))
    refuse_unknown_model_keys(PPOConfig())


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(DefaultModelConfig)])
def test_a_field_is_read_by_ppos_network_or_refused(name):
    root = Path(ray.rllib.__file__).parent
    globs = ("algorithms/ppo/*.py", "algorithms/ppo/torch/*.py", "core/models/**/*.py",
             "connectors/common/*.py", "connectors/learner/*.py")  # fmt: skip
    sources = (p.read_text() for glob in globs for p in root.glob(glob) if "policy" not in p.name)
    read = any(re.search(rf"""["']{name}["']""", source) for source in sources)
    assert read != (name in UNREAD)
