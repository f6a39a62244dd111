"""Every key of a configuration, and `prunefront keys`, which lists them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from rllib_ext.pruning.errors import ConfigError
from search.cli.main import cli, main
from search.config.experiment import ExperimentConfig
from search.config.loading import load_config, read_values
from search.config.reference import REQUIRED, Key, find, keys, keys_of, schema
from search.config.settings import Settings

# Only what has to be given.
MINIMAL = {
    "name": "minimal",
    "env": "CartPole-v1",
    "search": {"space": {"training.lr": {"type": "float", "low": 1e-4, "high": 1e-2}}},
    "budget": {"env_steps": 100_000},
}
CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))
PARAMETERS = {
    "float": {"type": "float", "low": 0.1, "high": 0.9},
    "int": {"type": "int", "low": 1, "high": 9},
    "choice": {"type": "choice", "choices": [1, 2]},
}
KEYS = keys()
BY_PATH = {key.path: key for key in KEYS}
WITH_DEFAULT = [key for key in KEYS if key.kind and key.default != REQUIRED]


def listed(*words):
    """The paths that the verb prints."""
    ended = CliRunner().invoke(cli, ["keys", *words])
    assert ended.exit_code == 0, ended.exception
    return [line.split("  ")[0] for line in ended.output.splitlines() if line[0] != " "]


def path_of(key):
    return key.path


@pytest.fixture
def resolved(tmp_path):
    """Reads a configuration with overrides."""

    def read(values, *overrides):
        path = tmp_path / "minimal.yaml"
        path.write_text(yaml.safe_dump(values))
        return load_config(path, overrides)

    return read


def test_every_key_has_a_meaning():
    assert [key.path for key in KEYS if not key.meaning] == []


class Told(Settings):
    """Some settings."""

    members: int = 1
    segments: int = 2
    """So many,
    and no more."""


def test_a_missing_description_is_a_missing_meaning():
    meanings = {key.path: key.meaning for key in keys_of(Told.model_json_schema())}
    assert meanings == {"members": "", "segments": "So many,\nand no more."}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_schema_accepts_the_configurations_that_come_along(path):
    jsonschema.validate(read_values(path), schema())


def test_the_verb_prints_the_schema_and_the_file_beside_the_configurations_is_what_it_prints():
    """Otherwise: prunefront schema > configs/schema.json."""
    ended = CliRunner().invoke(cli, ["schema"])
    assert json.loads(ended.output) == schema()
    assert (CONFIGS[0].parent / "schema.json").read_text() == ended.output
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_that_comes_along_names_the_schema_for_editors(path):
    named = path.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).samefile(CONFIGS[0].parent / "schema.json")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_numbers_are_written_as_editors_read_them(path):
    """YAML 1.2, which they read, knows no underscores in numbers: 32_000 would be a text."""
    plain = [
        token.value
        for token in yaml.scan(path.read_text())
        if isinstance(token, yaml.ScalarToken) and token.plain
    ]
    assert not [text for text in plain if re.fullmatch(r"[-+]?[\d.]+(_[\d_.]+)+", text)]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"engin": "packed"}, "'engin' was unexpected"),
        ({"pruning": {"damage": []}}, "is not of type 'object'"),
        ({"pruning": {"horizon": 1_000}}, "'horizon' was unexpected"),
        ({"population": {"members": 0}}, "less than the minimum of 1"),
        (
            {"search": {"space": {"training.lr": {"type": "float", "low": 0}}}},
            "'high' is a required",
        ),
    ],
)
def test_the_schema_refuses_what_is_no_configuration(changes, told):
    with pytest.raises(jsonschema.ValidationError) as refused:
        jsonschema.validate({**MINIMAL, **changes}, schema())
    causes = [refused.value, *(refused.value.context or ())]
    assert any(told in cause.message for cause in causes)


def test_what_the_schema_takes_for_a_mapping_is_one(resolved):
    damage = {"pi": [[0.5, 0.1], [0.9, 1.0]]}
    values = {**MINIMAL, "pruning": {"criterion": "sensitivity", "damage": damage}}
    jsonschema.validate(values, schema())
    assert resolved(values).pruning.damage == (("pi", ((0.5, 0.1), (0.9, 1.0))),)


def test_two_configurations_share_no_default(resolved):
    first, second = resolved(MINIMAL), resolved(MINIMAL)
    first.ppo.training["lr"] = 1.0
    assert second.ppo.training == {}
    assert resolved(MINIMAL).ppo.training == {}


def test_every_key_but_a_group_has_a_kind_and_a_default():
    inner = {key.path.rpartition(".")[0] for key in KEYS}
    groups = {key.path for key in KEYS if not key.kind}
    assert groups == {path for path in inner - {"", "search.space"} if not path.endswith("[]")}
    assert all(bool(key.kind) == bool(key.default) for key in KEYS)


def walked(definition, schema, before=""):
    """Paths below a definition of a JSON schema."""
    for name, value in definition["properties"].items():
        path, below = before + name, value.get("$ref")
        if path == "pruning.horizon":
            continue
        yield path
        if below:
            yield from walked(schema["$defs"][below.rpartition("/")[2]], schema, f"{path}.")
        if item := value.get("items", {}).get("$ref"):
            yield from walked(schema["$defs"][item.rpartition("/")[2]], schema, f"{path}[].")
        more = value.get("additionalProperties")
        if isinstance(more, dict):
            yield f"{path}.PATH"
            for one in more["oneOf"]:
                yield from walked(
                    schema["$defs"][one["$ref"].rpartition("/")[2]], schema, f"{path}.PATH."
                )


def test_the_keys_are_those_of_the_models_json_schema_in_its_order():
    schema = ExperimentConfig.model_json_schema()
    paths = list(walked(schema, schema))
    kind = "search.space.PATH.type"
    assert paths.count(kind) == len(PARAMETERS)
    # The key that tells the types apart is listed once for all of them.
    first = paths.index(kind) + 1
    paths[first:] = [path for path in paths[first:] if path != kind]
    assert [key.path for key in KEYS] == paths


def test_the_plain_keys_are_those_of_a_resolved_configuration(resolved):
    def below(values, before=""):
        for name, value in values.items():
            path = before + name
            yield path
            if isinstance(value, dict) and path != "search.space":
                yield from below(value, f"{path}.")

    dumped = resolved(MINIMAL).model_dump(mode="json")
    del dumped["pruning"]["horizon"]
    plain = [key.path for key in KEYS if "[]" not in key.path and "PATH" not in key.path]
    assert plain == list(below(dumped))


@pytest.mark.parametrize(
    "key", [k for k in WITH_DEFAULT if "[]" not in k.path and "PATH" not in k.path], ids=path_of
)
def test_a_default_as_an_override_changes_nothing(key, resolved):
    values = MINIMAL
    if key.path == "budget.env_steps":
        # What is given is set back; something else has to say how long to train.
        values = {**MINIMAL, "budget": {"seconds": 60.0, "horizon": 1_000}}
    assert resolved(values, f"{key.path}={key.default}") == resolved(values)


@pytest.mark.parametrize("key", [k for k in WITH_DEFAULT if "[]" in k.path], ids=path_of)
def test_a_default_of_a_lists_item_changes_nothing(key, resolved):
    path, name = key.path.split("[].")
    given = resolved(MINIMAL, f"{path}=[{{{name}: {key.default}}}]")
    assert given == resolved(MINIMAL, f"{path}=[{{}}]")


@pytest.mark.parametrize("key", [k for k in WITH_DEFAULT if "PATH" in k.path], ids=path_of)
def test_a_default_of_a_searched_hyperparameter_changes_nothing(key, resolved):
    (kind,) = (kind for kind in PARAMETERS if key.meaning.startswith(f"Of type {kind}: "))
    values = {**MINIMAL, "search": {"space": {"training.lr": PARAMETERS[kind]}}}
    path = key.path.replace("PATH", "training.lr")
    assert resolved(values, f"{path}={key.default}") == resolved(values)


def test_what_is_required_cannot_be_left_out(resolved):
    required = {key.path for key in KEYS if key.default == REQUIRED and "PATH" not in key.path}
    assert required == {"name", "env", "search.space"}
    for path in required:
        values = yaml.safe_load(yaml.safe_dump(MINIMAL))
        *groups, name = path.split(".")
        node = values
        for group in groups:
            node = node[group]
        del node[name]
        with pytest.raises(ConfigError, match=f"{path}' is missing"):
            resolved(values)


@pytest.mark.parametrize(
    ("path", "kind", "default"),
    [
        ("env", "str", REQUIRED),
        ("engine", "packed | rllib | auto", "rllib"),
        ("ppo.training", "mapping", "{}"),
        ("pruning.final_sparsity", "float or null", "0.9"),
        ("pruning.regrow", "set | rigl or null", "null"),
        ("pruning.exclude", "list of str", "[]"),
        ("pruning.damage", "mapping", "{}"),
        ("search.space", "mapping, 1 or more", REQUIRED),
        ("search.space.PATH.type", "float | int | choice", REQUIRED),
        ("search.space.PATH.choices", "list of float | int | str | bool, 2 or more", REQUIRED),
        ("search.exploit_share", "float in (0, 0.5]", "0.25"),
        ("search.dense_share", "float in (0, 1)", "0.25"),
        ("search.synchronous", "bool", "false"),
        ("population.members", "int ≥ 1", "8"),
        ("budget.seconds", "float > 0 or null", "null"),
        ("evaluation.shifts", "list of mappings", "[]"),
        ("evaluation.shifts[].noise_unit", "std | absolute", "std"),
        ("evaluation.shifts[].set", "mapping", "{}"),
        ("trackers.wandb", "mapping or null", "null"),
    ],
)
def test_kinds_and_defaults_read_well(path, kind, default):
    assert (BY_PATH[path].kind, BY_PATH[path].default) == (kind, default)


def test_a_key_of_a_searched_hyperparameter_says_for_which_type_it_is():
    low = [key for key in KEYS if key.path == "search.space.PATH.low"]
    assert low == [
        Key("search.space.PATH.low", "float", REQUIRED, "Of type float: Smallest value."),
        Key("search.space.PATH.low", "int", REQUIRED, "Of type int: Smallest value."),
    ]
    meaning = BY_PATH["search.space.PATH"].meaning
    assert "pruning.…" in meaning
    assert "training.…" in meaning


def test_a_meaning_over_several_lines_is_one_text():
    meaning = BY_PATH["evaluation.shifts"].meaning
    assert meaning.endswith("each as in `rllib_ext.envs.shift.Shift`: the generalisation table.")
    assert not any("  " in key.meaning or "\n" in key.meaning for key in KEYS)


def test_words_filter_by_path_and_meaning_however_they_are_capitalised():
    assert find([]) == KEYS
    assert BY_PATH["search.sampler"] in find(["SAMPLER"])
    assert [key.path for key in find(["gaussian", "Observation"])] == ["evaluation.shifts[].noise"]
    every = find(["evaluation.", "seeds"])
    assert every == [k for k in KEYS if k in find(["evaluation."]) and k in find(["seeds"])]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["samplr"], "no key has 'samplr'.*Near: search.sampler"),
        (["Budgt"], r"Near: budget\."),
        (["serch.sampler"], "Near: search.sampler"),
        (["sampler", "qqqq"], "no key has 'qqqq'.*`prunefront keys` lists all"),
        (["wandb", "mlflow"], r"all of 'wandb' \(1\), 'mlflow' \(2\)"),
    ],
)
def test_words_that_match_nothing_are_refused(words, said):
    with pytest.raises(ConfigError, match=said):
        find(words)


def test_the_verb_lists_all_keys_or_those_with_the_words():
    assert listed() == [key.path for key in KEYS]
    assert listed("shifts[]", "noise") == [
        f"evaluation.shifts[].{name}" for name in ("noise", "noise_unit", "action_noise")
    ]


@pytest.mark.parametrize(("columns", "widest"), [("40", 40), ("300", 100)])
def test_a_meaning_is_wrapped_to_the_terminal_below_its_key(columns, widest):
    environment = {"COLUMNS": columns, "LINES": "24"}
    ended = CliRunner().invoke(cli, ["keys", "search.strategy"], env=environment)
    head, *lines = ended.output.splitlines()
    key = BY_PATH["search.strategy"]
    assert head == f"{key.path}  {key.kind}  [{key.default}]"
    assert all(line.startswith("    ") and len(line) <= widest for line in lines)
    assert max(map(len, lines)) > widest - 20
    assert " ".join(line.strip() for line in lines) == key.meaning


def test_a_group_has_only_its_path_and_meaning():
    output = CliRunner().invoke(cli, ["keys", "population"]).output
    meaning = BY_PATH["population"].meaning
    assert f"population\n    {meaning}\npopulation.members  int ≥ 1  [8]\n" in output


def test_nothing_found_ends_with_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["prunefront", "keys", "samplr"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: no key has 'samplr'")
    assert told.out == ""


def test_a_reader_that_has_had_enough_gets_no_traceback():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "search", "keys"]
    with os.fdopen(write, "w") as closed:
        ended = subprocess.run(
            command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.stderr == ""


def test_keys_load_neither_ray_nor_torch():
    code = "import sys, search.cli.keys; print({'ray', 'torch', 'gymnasium'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"
