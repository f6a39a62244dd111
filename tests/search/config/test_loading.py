"""YAML and overrides in; checked values or one clear message out."""

import json
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_ext.pruning.errors import ConfigError, ResultsError
from search.config.loading import load_config, parse_config, parse_yaml
from search.store.continued import extended, load_config_of
from search.store.folder import update_manifest

CONFIGS = Path(__file__).parents[3] / "configs"
SMALL = """
name: small
env: CartPole-v1
budget: {env_steps: 4e4}
population: {members: 4, segments: 4}
ppo:
  training: {lr: 1e-3}
search:
  space:
    pruning.final_sparsity: {type: float, low: 0.3, high: 0.9}
    training.lr: {type: float, low: 1e-4, high: 1e-2, scale: log}
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-3", 1e-3), ("1E5", 1e5), ("-2e3", -2e3), ("+2e3", 2e3), ("1.5e-3", 1.5e-3),
        ("3.e2", 300.0), ("320_000", 320_000), ("0.5", 0.5), ("7", 7), (".inf", float("inf")),
    ],
)  # fmt: skip
def test_what_people_write_for_numbers_is_a_number(text, number):
    value = parse_yaml(f"x: {text}", "it")["x"]
    assert value == number
    assert type(value) is type(number)


@pytest.mark.parametrize(
    "text",
    ["e5", "1e", "1e5x", "v1e3", "'1e-3'", "CartPole-v1", "2024-01-01", "2024-13-01", "2024-02-30"],
)
def test_what_only_resembles_a_number_stays_text(text):
    assert isinstance(parse_yaml(f"x: {text}", "it")["x"], str)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(number=st.floats(allow_nan=False, allow_infinity=False), digits=st.integers(0, 12))
def test_every_way_python_prints_a_float_is_read_as_that_float(number, digits):
    for text in (repr(number), f"{number:.{digits}e}"):
        assert parse_yaml(f"[{text}]", "it") == [float(text)]


def test_a_file_is_read(small):
    config = load_config(small)
    assert config.name == "small"
    assert config.budget.env_steps == 40_000
    assert config.ppo.training == {"lr": 1e-3}
    assert list(config.search.space) == ["pruning.final_sparsity", "training.lr"]


def test_overrides_reach_everything_by_its_path(small):
    config = load_config(
        small,
        [
            "name=other",
            "seed=7",
            "population.members=6",
            "ppo.training.lr=5e-4",
            "ppo.rl_module.model_config.fcnet_hiddens=[8, 8]",
            "pruning.exclude=['pi.*']",
            "evaluation={interval: 3}",
            "env_config.gravity=9.0",
        ],
    )
    assert (config.name, config.seed, config.population.members) == ("other", 7, 6)
    assert config.ppo.training == {"lr": 5e-4}
    assert config.ppo.rl_module == {"model_config": {"fcnet_hiddens": [8, 8]}}
    assert config.pruning.exclude == ("pi.*",)
    assert config.evaluation.interval == 3
    assert config.env_config == {"gravity": 9.0}
    # What an override doesn't name stays.
    assert config.population.segments == 4


def test_overrides_reach_below_hyperparameters_whose_names_have_dots(small):
    config = load_config(
        small,
        [
            "search.space.pruning.final_sparsity.high=0.95",
            "search.space.pruning.final_sparsity.scale=log_density",
            "search.space.training.gamma={type: float, low: 0.9, high: 0.999}",
            "search.space.training.gamma.low=0.95",
        ],
    )
    space = config.search.space
    assert list(space) == ["pruning.final_sparsity", "training.lr", "training.gamma"]
    sparsity = space["pruning.final_sparsity"]
    assert (sparsity.low, sparsity.high, sparsity.scale) == (0.3, 0.95, "log_density")
    assert (space["training.gamma"].low, space["training.gamma"].high) == (0.95, 0.999)


def test_a_later_override_wins_and_the_file_stays_as_it_is(small):
    assert load_config(small, ["seed=1", "seed=2"]).seed == 2
    assert small.read_text() == SMALL
    assert load_config(small).seed == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "'seed' is no override. Expected dotted.path=value"),
        ("=3", "'=3' is no override"),
        ("seed=[1", "value of override 'seed=.1' is not YAML"),
        ("name.first=3", "'name' is a value, so nothing lies below it"),
        ("search.space.training.lr.low.lower=3", "'low' is a value"),
        ("populaton.members=4", "unknown key 'populaton'. Did you mean 'population'"),
        ("population.memberz=4", "'population.memberz'. Did you mean 'members'"),
        # Its own level first, and then the name where it has its place.
        ("trainig.lr=1e-3", r"'trainig'. Did you mean 'ppo\.training\.lr'\?$"),
        ("training={lr: 1e-3, gamma: 0.9}", r"Did you mean 'ppo\.training'\?$"),
        ("training.nothing=1", r"Did you mean 'ppo\.training'\?$"),
        ("ppo.trainig.lr=1e-3", r"'ppo\.trainig'. Did you mean 'training'\?$"),
        ("learning_rate=1e-3", r"Did you mean 'ppo\.training\.lr'\?$"),
        ("lerning_rate=1e-3", r"Did you mean 'ppo\.training\.lr'\?$"),
        ("slots=100", r"Did you mean 'resources\.slots'\?$"),
        ("prunning.begin=0.1", r"Did you mean 'pruning'\?$"),
        ("pruning={on: 1}", "unknown key True"),
        (f"population.members=1{'0' * 320}", "a number in the configuration is too large"),
        ("zzz=1", r"unknown key 'zzz'. Known: name, env, "),
        ("search.space.training.lr.hgh=1", "lr.hgh'. Did you mean 'high'"),
        ("search.space.pruning.begn={type: float, low: 0, high: 1}", "mean 'pruning.begin'"),
        ("pruning.begin=0.9", r"begin = 0\.9 lies after end = 0\.8"),
        ("search.space.training.lr=", "training.lr"),
        ("budget=", "budget = None"),
    ],
)
def test_a_wrong_override_is_named(small, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(small, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "^the command line: 'seed' is no override"),
        ("seed=[1", r"^on the command line, the value of override 'seed=\[1' is not YAML"),
        ("seed={a: 1, a: 2}", "^on the command line, .*the key 'a' is there already"),
        ("name.first=3", "^the command line: override"),
        ("population.memberz=4", "^the command line:\n  unknown key 'population.memberz'"),
        ("seed=-1", "^the command line:\n  seed = -1"),
        ("pruning.begin=0.9", "^the command line:\n  pruning: begin = 0.9"),
    ],
)
def test_what_was_typed_wrongly_is_said_of_the_command_line_and_not_of_the_file(
    small, override, message
):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(small, ["population.segments=2", override])
    assert "small.yaml" not in str(caught.value)
    assert "<unicode string>" not in str(caught.value)


def test_mistakes_of_a_file_and_of_the_command_line_are_listed_apart(small):
    small.write_text(SMALL + "evaluation: {interval: 0}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(small, ["seed=-1"])
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{small}:"
    assert lines[1].startswith("  evaluation.interval = 0")
    assert lines[2] == "the command line:"
    assert lines[3].startswith("  seed = -1")
    assert len(lines) == 4
    # Alone, the file is to blame, whatever else was typed.
    with pytest.raises(ConfigError, match=rf"^{small}:\n  evaluation.interval = 0"):
        load_config(small, ["seed=1"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: 1\nname: a\nseed: 2", 3),
        ("ppo:\n  training: {lr: 1e-3, gamma: 0.9, lr: 1e-4}", 2),
        ("search:\n  space:\n    training.lr: {}\n    training.lr: {}\n", 4),
    ],
)
def test_a_key_that_is_there_twice_is_refused_with_its_line(tmp_path, text, line):
    path = tmp_path / "twice.yaml"
    path.write_text(text)
    with pytest.raises(
        ConfigError, match=rf"(?s)twice\.yaml: the key .* line {line}, column"
    ) as caught:
        load_config(path)
    assert "leave one of the two out" in str(caught.value)


def test_a_key_that_overrides_a_merged_one_is_no_second_one():
    values = parse_yaml("base: &base {a: 1, b: 2}\nmine:\n  <<: *base\n  a: 3", "it")
    assert values["mine"] == {"a": 3, "b": 2}


@pytest.mark.parametrize("replaced", ["search=5", "search.space=5"])
def test_nothing_can_lie_below_what_an_earlier_override_made_a_value(small, replaced):
    with pytest.raises(ConfigError, match="is a value, so nothing lies below it"):
        load_config(small, [replaced, "search.space.training.lr.low=1e-5"])


def test_a_key_without_a_value_can_be_filled_by_overrides(tmp_path):
    path = tmp_path / "open.yaml"
    path.write_text("name: open\nenv: CartPole-v1\nbudget:\nsearch:\n")
    lr = "{type: float, low: 1e-4, high: 1e-2}"
    config = load_config(path, ["budget.env_steps=4e4", f"search.space.training.lr={lr}"])
    assert list(config.search.space) == ["training.lr"]


def test_a_missing_file_is_named_with_what_lies_beside_it(small):
    with pytest.raises(ConfigError, match=r"smal.yaml is no file.*There: .*small\.yaml"):
        load_config(small.with_name("smal.yaml"))
    with pytest.raises(ConfigError, match=r"is no file\. .* comes along: acrobot, [\w, ]+\.$"):
        load_config(small.parent / "nowhere" / "small.yaml")
    with pytest.raises(ConfigError, match="is no file"):
        load_config(small.parent)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [unclosed", "is not YAML: .*line 1"),
        ("name: a\n\tenv: b", "is not YAML.*\n.*line 2"),
        ("- a list", "holds no mapping"),
        ("", "holds no mapping"),
        ("just text", "holds no mapping"),
        ("name: 0b_", "is not YAML"),
        ("!!python/object/apply:os.system [true]", "is not YAML"),
        ("name: \x00", "is not YAML"),
    ],
)
def test_a_file_that_holds_no_configuration_is_refused(tmp_path, text, message):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"(?s)broken\.yaml .*{message}"):
        load_config(path)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(ConfigError, match=r"binary\.yaml"):
        load_config(path)


def test_a_bare_name_is_a_configuration_that_comes_along_unless_it_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("cartpole"), ["seed=4"]) == load_config(
        CONFIGS / "cartpole.yaml", ["seed=4"]
    )
    (tmp_path / "cartpole").write_text(SMALL)
    assert load_config(Path("cartpole")).name == "small"
    # A path is a path: what is missing there is not looked for elsewhere.
    for path in ("nowhere/cartpole", "configs/cartpole.yaml", "cartpole.yaml", "cartpol"):
        with pytest.raises(ConfigError, match=f"{path} is no file"):
            load_config(Path(path))


def test_infinite_arguments_of_an_environment_read_back_as_they_were():
    arguments = {"highest": math.inf, "lows": [-math.inf, 1.0], "missing": {"as": math.nan}}
    config = load_config(SMOKE).model_copy(update={"env_config": arguments})
    manifest = json.loads(json.dumps(config.model_dump(mode="json")))
    for values in (yaml.safe_load(config.to_yaml()), manifest):
        again = parse_config(values, "resolved").env_config
        assert math.isnan(again["missing"].pop("as"))
        assert again == {**arguments, "missing": {}}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_resolved_configuration_reads_back_equal(path):
    config = load_config(path, ["seed=3", "pruning.exclude=['pi.*']", "pruning.step=1e-2",
                                "pruning.min_step=1e-3"])  # fmt: skip
    again = parse_config(yaml.safe_load(config.to_yaml()), "resolved")
    assert again == config
    assert again.to_yaml() == config.to_yaml()


def test_every_configuration_that_is_shipped_is_tested():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} >= {"article", "cartpole", "smoke"}


def test_the_articles_configuration_is_the_articles():
    config = load_config(CONFIGS / "article.yaml")
    assert config.env == "CartPole-v1"
    model = config.ppo.rl_module["model_config"]
    assert (model["fcnet_hiddens"], model["fcnet_activation"]) == ([128, 64], "relu")
    pruning = config.pruning
    assert (pruning.final_sparsity, pruning.threshold, pruning.patience) == (0.5, 0.5, 5)
    assert (pruning.threshold_unit, pruning.schedule) == ("absolute", "plateau")
    assert {"pruning.final_sparsity", "pruning.threshold", "pruning.patience"} <= set(
        config.search.space
    )


def test_the_default_search_reaches_the_sparsity_it_is_held_against():
    config = load_config(CONFIGS / "cartpole.yaml")
    assert config.search.space["pruning.final_sparsity"].high == 0.9995
    assert config.horizon >= 100_000
    assert config.evaluation.selection_episodes >= 100
    assert config.evaluation.report_episodes >= 100
    assert config.search.strategy == "pareto_pbt"


def test_the_smoke_search_is_small():
    config = load_config(CONFIGS / "smoke.yaml")
    assert config.budget.env_steps + config.horizon <= 50_000
    assert config.population.members >= 4


SMOKE = CONFIGS / "smoke.yaml"


def test_a_larger_budget_keeps_the_horizon_and_all_else():
    config = load_config(SMOKE)
    more = extended(config, ["budget.env_steps=5e4"])
    assert (more.budget.env_steps, more.horizon) == (50_000, config.horizon)
    assert more.segment_steps == config.segment_steps
    same = {"budget": None}
    assert more.model_copy(update=same) == config.model_copy(update=same)
    assert extended(more, ["budget.env_steps=60_000"]).horizon == config.horizon
    assert extended(config, []) == extended(config, ["budget.env_steps=32_000"]) == config


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=1", r"'seed=1'.*Only budget\.env_steps and budget\.seconds can be changed"),
        ("budget={env_steps: 9}", r"Only budget\.env_steps and budget\.seconds can be changed"),
        ("budget.horizon=9_000", r"Only budget\.env_steps and budget\.seconds can be changed"),
        ("budget.env_steps", "Only budget|no override"),
        ("budget.env_steps=31_999", "31,999 is less than the 32,000 that the search was given"),
        ("budget.env_steps=-1", "budget.env_steps"),
        ("budget.env_steps=much", "budget.env_steps"),
    ],
)
def test_any_other_change_of_a_search_that_goes_on_is_refused(override, expected):
    with pytest.raises(ConfigError, match=expected):
        extended(load_config(SMOKE), [override])


def test_a_search_whose_budget_was_shared_out_is_not_extended():
    config = load_config(SMOKE, ["search.strategy=train_then_prune"])
    assert extended(config, ["budget.env_steps=32_000"]) == config
    with pytest.raises(ConfigError, match="train_then_prune the budget was shared out"):
        extended(config, ["budget.env_steps=40_001"])


def test_a_limit_in_seconds_is_raised_and_none_is_added():
    limited = load_config(SMOKE, ["budget.seconds=60"])
    assert extended(limited, ["budget.seconds=90"]).budget.seconds == 90
    with pytest.raises(ConfigError, match=r"budget\.seconds = 30.0 is less than the 60.0"):
        extended(limited, ["budget.seconds=30"])
    with pytest.raises(
        ConfigError, match=r"budget\.seconds = 30.0, but the search was given no such"
    ):
        extended(load_config(SMOKE), ["budget.seconds=30"])


def test_a_results_folder_without_a_configuration_is_named(tmp_path):
    with pytest.raises(ResultsError, match=r"holds no config\.yaml"):
        load_config_of(tmp_path)
    with pytest.raises(ResultsError, match="is not a folder"):
        load_config_of(tmp_path / "no")
    (tmp_path / "config.yaml").write_text(load_config(SMOKE).to_yaml())
    assert load_config_of(tmp_path) == load_config(SMOKE)


def begun(folder, **manifest):
    """A results folder as `search` leaves it."""
    config = load_config(SMOKE)
    (folder / "config.yaml").write_text(config.to_yaml())
    update_manifest(folder, config=config.model_dump(mode="json"), **manifest)
    return config


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("seed: 0", "seed: 3", "seed = 3, and it was 0"),
        ("members: 4", "members: 6", "population.members = 6, and it was 4"),
        ("name: smoke", "name: smoke\nbackend: x", "unknown key 'backend'"),
        ("  seconds: null\n  horizon: null", "  horizon: 9000", "horizon = 9000, and it was 8000"),
        ("env_steps: 32000", "env_steps: 100", "100 is less than the 32,000"),
    ],
)
def test_what_was_edited_since_the_search_began_is_refused(tmp_path, before, after, told):
    begun(tmp_path)
    text = (tmp_path / "config.yaml").read_text()
    assert before in text
    (tmp_path / "config.yaml").write_text(text.replace(before, after))
    with pytest.raises((ConfigError, ResultsError), match=told) as refused:
        load_config_of(tmp_path)
    if "and it was" in told:
        assert "put them back" in str(refused.value)
    (tmp_path / "config.yaml").write_text(f"# mine\n{text}")
    assert load_config_of(tmp_path) == load_config(SMOKE)


def test_a_larger_budget_may_be_written_into_the_configuration(tmp_path):
    """It is what `resume DIR budget.env_steps=…` gives: the horizon stays, too."""
    config = begun(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("env_steps: 32000", "env_steps: 64000"))
    assert load_config_of(tmp_path) == extended(config, ["budget.env_steps=64000"])
    # Killed between the two, a search that was extended has written the one and not the other.
    path.write_text(extended(config, ["budget.env_steps=64000"]).to_yaml())
    assert load_config_of(tmp_path) == extended(config, ["budget.env_steps=64000"])


def test_a_folder_of_an_earlier_version_is_taken_at_its_word(tmp_path):
    begun(tmp_path)
    (tmp_path / "manifest.json").write_text('{"status": "interrupted"}')
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 3"))
    assert load_config_of(tmp_path).seed == 3
