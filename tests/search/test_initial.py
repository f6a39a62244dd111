import pytest
from pretended_search import coordinated

from rllib_ext.pruning.errors import CheckpointError, ConfigError
from search.estimate import describe_plan
from search.initial import INITIAL, initial_of, kept_initial
from search.ppo import build_ppo
from search.preparation import prepare

SMALL = {"rl_module": {"model_config": {"fcnet_hiddens": [16, 16]}}}


@pytest.mark.ray
def test_a_checkpoint_of_the_same_network_is_taken_and_others_are_refused(ppo_checkpoint):
    fits = coordinated(init_checkpoint=str(ppo_checkpoint), ppo=SMALL)
    initial = initial_of(fits, build_ppo(fits))
    assert {w.shape for w in initial.weights.values()} >= {(16, 4), (16, 16), (2, 16), (1, 16)}
    assert "engine" in describe_plan(fits)
    with pytest.raises(ConfigError, match="holds another network"):
        describe_plan(coordinated(init_checkpoint=str(ppo_checkpoint)))
    with pytest.raises(ConfigError, match="holds another network"):
        prepare(coordinated(init_checkpoint=str(ppo_checkpoint)))


def test_without_a_checkpoint_members_start_afresh(tmp_path):
    config = coordinated()
    assert initial_of(config, build_ppo(config)) is None
    assert kept_initial(tmp_path) == ""
    with pytest.raises(CheckpointError, match="is not there"):
        prepare(coordinated(init_checkpoint=str(tmp_path / "none")))


def test_replays_start_from_what_their_search_started_from(tmp_path):
    (tmp_path / INITIAL).touch()
    replays = tmp_path / "retrain"
    replays.mkdir()
    assert kept_initial(tmp_path) == kept_initial(replays) == str(tmp_path / INITIAL)
