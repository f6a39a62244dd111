"""Where lineages start, searched: drawn at a birth, inherited by clones, told to the study."""

import pytest
from optuna.distributions import CategoricalDistribution
from pretended_search import STARTS, Search, by_id, coordinated, events, trials_in

from rllib_ext.pruning.config import PruningConfig
from search.config.space import BIRTH
from search.front.lineage import lineage, plans_of
from search.population.baselines import dense_segment

pytestmark = pytest.mark.usefixtures("without_sync")
START, DENSITY, TARGET = "pruning.start", "pruning.start_density", "pruning.final_sparsity"


def searched(folder, strategy, **more):
    return Search(
        folder, strategy=strategy, members=8, env_steps=160_000, search={"space": STARTS}, **more
    ).run()


@pytest.mark.parametrize(
    "strategy", ["pareto_pbt", "gap_pbt", "pbt", "selection", "optuna", "random"]
)
def test_all_starts_are_born_and_no_clone_changes_its_own(tmp_path, strategy):
    search = searched(tmp_path, strategy)
    known = by_id(search)
    born, cloned = [], 0
    for segment in search.of_members:
        start = segment.pruning["start"]
        if not segment.parent:
            born.append(start)
            continue
        parent = known[segment.parent].hyperparameters
        assert start == parent[START]
        assert segment.pruning["start_density"] == parent.get(DENSITY)
        cloned += known[segment.parent].member != segment.member
    assert set(born) == {"dense", "narrow", "sparse"}
    assert cloned > 0 or strategy in ("optuna", "random")


def test_a_birth_starts_no_sparser_than_it_is_to_end_and_only_where_density_acts(tmp_path):
    search = searched(tmp_path, "random")
    births = [s for s in search.of_members if not s.parent]
    values = [e["hyperparameters"] for e in events(search, "explore")]
    assert len(values) == len(births) >= 8
    low, high = STARTS[DENSITY]["low"], STARTS[DENSITY]["high"]
    for own in values:
        assert (DENSITY in own) == (own[START] != "dense")
        if DENSITY in own:
            assert own[DENSITY] >= min(high, max(low, 1.0 - own[TARGET])) - 1e-12
    # What was proposed below is moved, not refused.
    raised = [own for own in values if own.get(DENSITY) == pytest.approx(1.0 - own[TARGET])]
    assert len(raised) < len(values)


def test_the_study_knows_starts_as_a_choice_and_hears_what_was_used(tmp_path):
    search = searched(tmp_path, "pareto_pbt")
    trials = {t.number: t for t in trials_in(tmp_path)}
    for segment in search.of_members:
        trial = trials[segment.trial_number]
        assert trial.params[START] == segment.pruning["start"]
        assert trial.params.get(DENSITY) == pytest.approx(segment.pruning["start_density"])
        choice = trial.distributions[START]
        assert isinstance(choice, CategoricalDistribution)
        assert choice.choices == ("dense", "narrow", "sparse")


def test_a_recipe_names_its_start_in_every_stage(tmp_path):
    search = searched(tmp_path, "pareto_pbt")
    known, plans = by_id(search), plans_of(search.archive.events())
    last = max(known.values(), key=lambda s: s.env_steps)
    for snapshot in (last, *known.values()):
        stages = lineage(snapshot, known, plans)
        assert len({stage.pruning["start"] for stage in stages}) == 1
        assert stages[0].hyperparameters[START] == stages[0].pruning["start"]


def test_a_lineage_s_start_is_inherited_like_its_criterion():
    assert {START, DENSITY, "pruning.criterion"} <= BIRTH


@pytest.mark.parametrize("start", ["narrow", "sparse"])
def test_what_is_compared_with_starts_dense_whatever_members_start_with(start):
    config = coordinated(pruning={"start": start, "start_density": 0.1})
    assert PruningConfig.from_dict(dense_segment(config).pruning).start == "dense"
    assert config.pruning_with({}).start == start
