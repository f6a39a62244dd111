"""What an experiment accepts, what it refuses, and what follows from it."""

import pytest

from rllib_ext.base.hints import nearest
from rllib_ext.pruning.config import PruningConfig
from rllib_ext.pruning.errors import ConfigError
from search.config.experiment import ExperimentConfig
from search.config.loading import parse_config

LR = {"type": "float", "low": 1e-4, "high": 1e-2, "scale": "log"}
SPACE = {
    "space": {
        "pruning.final_sparsity": {"type": "float", "low": 0.3, "high": 0.9},
        "training.lr": LR,
    }
}


def experiment(**changes):
    values = {
        "name": "small",
        "env": "CartPole-v1",
        "budget": {"env_steps": 40_000},
        "population": {"members": 4, "segments": 4},
        "search": SPACE,
    }
    return parse_config({**values, **changes}, "small.yaml")


def between(low, high):
    return {"type": "float", "low": low, "high": high}


def test_defaults_are_those_that_the_docstrings_name():
    config = experiment()
    assert config.search.strategy == "pareto_pbt"
    assert config.pruning == PruningConfig()
    assert (config.search.exploit_share, config.search.proposal_share) == (0.25, 0.5)
    assert (config.evaluation.selection_episodes, config.evaluation.report_episodes) == (100, 100)


def test_a_lineage_has_its_share_of_the_budget_unless_the_horizon_is_given():
    assert experiment().horizon == 10_000
    assert experiment().segment_steps == 2_500
    given = experiment(budget={"env_steps": 40_000, "horizon": 20_000})
    assert (given.horizon, given.segment_steps) == (20_000, 5_000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pruning": {"threshold": -0.1}}, r"threshold = -0\.1; expected a number in \[0, inf\)"),
        ({"pruning": {"final_sparsity": 1.0}}, r"final_sparsity = 1\.0; .* in \[0, 1\)"),
        ({"pruning": {"begin": 0.9, "end": 0.3}}, r"begin = 0\.9 lies after end = 0\.3"),
        ({"pruning": {"begin": "soon"}}, "begin = 'soon'; expected a number"),
        ({"pruning": {"finalsparsity": 0.5}}, "'finalsparsity'. Did you mean 'final_sparsity'"),
        ({"pruning": {"horizon": 500}}, "budget.horizon instead"),
        ({"pruning": 5}, "pruning = 5"),
        ({"populaton": {}}, "unknown key 'populaton'. Did you mean 'population'"),
        ({"population": {"membrs": 4}}, "'population.membrs'. Did you mean 'members'"),
        ({"population": {"members": 3}}, "members = 3.*4 or more; use search.strategy=random"),
        ({"population": {"members": 0}}, "population.members = 0: .*greater than or equal to 1"),
        ({"population": {"members": "many"}}, "population.members = 'many'"),
        ({"budget": {}}, "budget needs env_steps or seconds"),
        ({"budget": {"seconds": 5}}, "budget.seconds alone.*give budget.horizon"),
        ({"search": {"objectives": ["sparsity", "return"], **SPACE}}, "expected return first"),
        ({"search": {"objectives": ["return"], **SPACE}}, "at least one of sparsity"),
        ({"search": {"objectives": ["return", "flops"], **SPACE}}, "search.objectives.1 = 'flops'"),
        ({"search": {"strategy": "train_then_prune", "space": {"training.lr": LR}}},
         "spread over the range of pruning.final_sparsity"),
        ({"search": {"strategy": "pbt", **SPACE}, "population": {"members": 3}}, "pbt ranks members"),
        ({"budget": {"env_steps": 15}}, "leaves a member 3 env steps for 4 segments; raise it"),
        ({"ppo": {"trainin": {}}}, "'ppo.trainin'. Did you mean 'training'"),
        ({"evaluation": {"interval": 0}}, "evaluation.interval = 0"),
        ({"evaluation": {"report_episodes": 1}}, "evaluation.report_episodes = 1"),
        ({"resources": {"slots": 0}}, "resources.slots = 0"),
        ({"resources": {"cpus_per_member": 0}}, "resources.cpus_per_member = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"name": "a/b"}, "name = 'a/b'"),
        ({"search": {"space": {}}}, "search.space"),
        ({"search": {"strategy": "pareto", **SPACE}}, "search.strategy = 'pareto'.*'pareto_pbt'"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_message_that_names_it_and_the_mend(changes, message):
    with pytest.raises(ConfigError, match=f"^small.yaml:\n  .*{message}") as caught:
        experiment(**changes)
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"pruning.finl_sparsity": between(0.3, 0.9)}, "Did you mean 'pruning.final_sparsity'"),
        ({"lr": between(0.3, 0.9)}, "'lr' names no hyperparameter.*training.…"),
        ({"training.": between(0.3, 0.9)}, "'training.' names no hyperparameter"),
        ({"pruning.horizon": {"type": "int", "low": 5, "high": 9}}, "names no hyperparameter"),
        ({"pruning.final_sparsity": between(0.3, 1.2)}, r"final_sparsity = 1\.2"),
        ({"pruning.threshold": between(-0.3, 0.2)}, r"threshold = -0\.3"),
        (
            {"pruning.begin": between(0.9, 1.0)},
            r"begin is at least 0\.9, but pruning.end at most 0",
        ),
        (
            {"pruning.begin": between(0.5, 0.6), "pruning.end": between(0.1, 0.4)},
            r"pruning.begin is at least 0\.5, but pruning.end at most 0\.4",
        ),
        (
            {"pruning.schedule": {"type": "choice", "choices": ["cubic", "qubic"]}},
            "schedule = 'qubic'.*Did you mean 'cubic'",
        ),
        (
            {"pruning.criterion": {"type": "choice", "choices": ["magnitude", "sensitivity"]}},
            "criterion='sensitivity'.*damage is empty",
        ),
        ({"pruning.patience": {"type": "int", "low": 1, "high": 8}}, "schedule=plateau only"),
        ({"training.lr": {"type": "flot", "low": 1, "high": 8}}, "'float', 'int', 'choice'"),
        ({"training.lr": {"type": "float", "low": 1, "hgh": 8}}, "lr.hgh'. Did you mean 'high'"),
        ({"training.lr": between(0.3, 0.1)}, "training.lr.*not below"),
        (
            {"pruning.end": {"type": "choice", "choices": ["a", "b"]}},
            "pruning.end can't be 'a'; expected numbers",
        ),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(space, message):
    with pytest.raises(ConfigError, match=message):
        experiment(search={"space": space})


def test_a_contradiction_between_two_searched_values_is_found_before_the_search():
    # Each fits what is fixed, but a rewind to 0.2 doesn't go with a begin at 0.1.
    space = {
        "pruning.schedule": {"type": "choice", "choices": ["iterative", "plateau"]},
        "pruning.rewind_to": between(0.0, 0.2),
        "pruning.begin": between(0.0, 0.4),
    }
    with pytest.raises(ConfigError, match="rewind_to"):
        experiment(search={"space": space})


def test_several_mistakes_get_a_line_each():
    with pytest.raises(ConfigError) as caught:
        experiment(seed=-1, evaluation={"interval": 0}, populaton={})
    assert len(str(caught.value).splitlines()) == 4


def test_random_search_does_with_one_member():
    config = experiment(
        population={"members": 1, "segments": 1},
        search={"strategy": "random", "space": {"training.lr": between(1e-4, 1e-2)}},
    )
    assert config.horizon == 40_000


def test_hyperparameters_are_split_between_pruning_and_training():
    config = experiment(pruning={"schedule": "linear"})
    drawn = {"pruning.final_sparsity": 0.7, "training.lr": 2e-3}
    pruning = config.pruning_with(drawn)
    assert (pruning.final_sparsity, pruning.schedule, pruning.horizon) == (0.7, "linear", 10_000)
    assert config.training_with(drawn) == {"lr": 2e-3}


def test_a_teacher_is_asked_for_only_where_there_is_one():
    searched = {"space": {**SPACE["space"], "pruning.distil": between(0.0, 2.0)}}
    for asked in ({"pruning": {"distil": 0.5}}, {"search": searched}):
        with pytest.raises(ConfigError, match=r"no trained policy.*init_checkpoint"):
            experiment(**asked)
        assert experiment(**asked, init_checkpoint="there").init_checkpoint == "there"
    assert experiment(search=searched, init_checkpoint="there").most("pruning.distil") == 2.0


def test_the_space_knows_what_is_fixed():
    fixed = experiment(pruning={"schedule": "linear", "end": 0.5}).space.fixed
    assert (fixed["pruning.schedule"], fixed["pruning.end"]) == ("linear", 0.5)


def test_a_hint_names_the_nearest_or_all_that_is_known():
    assert nearest("memebrs", ["members", "segments"]) == " Did you mean 'members'?"
    assert nearest("xyz", ["members", "segments"]) == " Known: members, segments."
    assert nearest("xyz", []) == ""


def test_a_configuration_cannot_be_changed():
    config = experiment()
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3
    assert isinstance(config, ExperimentConfig)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("trainig.lr", "training.lr"),
        ("training_lr", "training.lr"),
        ("learning_rate", "training.lr"),
        ("lr", "training.lr"),
        ("pruning.lr", "training.lr"),
        ("prunning.final_sparsity", "pruning.final_sparsity"),
        ("final_sparsity", "pruning.final_sparsity"),
        ("pruning.finl_sparsity", "pruning.final_sparsity"),
        ("trainig.clip_range", "training.clip_param"),
    ],
)
def test_a_misspelt_path_is_compared_level_by_level(given, meant):
    with pytest.raises(ConfigError, match=f"'{given}' names no .*Did you mean '{meant}'"):
        experiment(search={"space": {given: between(0.3, 0.5)}})


def test_where_nothing_is_near_only_that_level_is_listed():
    with pytest.raises(
        ConfigError, match=r"'pruning.xyz'.*Known: begin, count, criterion"
    ) as caught:
        experiment(search={"space": {"pruning.xyz": between(0.3, 0.5)}})
    assert "lambda_" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 1e-3}, "unknown key 'lr'. Did you mean 'ppo.training.lr'"),
        ({"members": 8}, "unknown key 'members'. Did you mean 'population.members'"),
        ({"ppo": {"learning_rate": 1e-3}}, "Did you mean 'ppo.training.lr'"),
        ({"budget": {"env_steps": 9_000, "seconds_": 4}}, "Did you mean 'seconds'"),
        ({"population": {"members": 4, "env_steps": 9}}, "Did you mean 'budget.env_steps'"),
    ],
)
def test_a_key_at_the_wrong_place_is_told_its_place(changes, message):
    with pytest.raises(ConfigError, match=message):
        experiment(**changes)


STARTS = {"type": "choice", "choices": ["dense", "narrow", "sparse"]}


@pytest.mark.parametrize(
    ("space", "changes", "message"),
    [
        (
            {"pruning.start_density": between(0.1, 0.5)},
            {},
            "acts under pruning.start=narrow or sparse only, but the start is dense; .*the start too",
        ),
        ({"pruning.start": STARTS}, {"init_checkpoint": "c"}, "start = narrow .*init_checkpoint"),
        ({}, {"init_checkpoint": "c", "pruning": {"start": "sparse"}}, "start = sparse masks"),
        ({"pruning.start": STARTS}, {"pruning": {"granularity": "layer"}}, "start = 'sparse'"),
        ({"pruning.start": {**STARTS, "choices": ["dense", "thin"]}}, {}, "start = 'thin'"),
    ],
)
def test_starts_that_cannot_be_are_refused(space, changes, message):
    search = {"space": {**SPACE["space"], **space}}
    with pytest.raises(ConfigError, match=message):
        experiment(search=search, **changes)


def test_starts_are_searched_with_a_density_of_their_own_or_without():
    for more in ({}, {"pruning.start_density": between(0.1, 0.5)}):
        config = experiment(search={"space": {**SPACE["space"], "pruning.start": STARTS, **more}})
        assert config.pruning_with({"pruning.start": "narrow"}).start == "narrow"
        assert config.pruning_with({}).start == "dense"
