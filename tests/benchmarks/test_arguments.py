"""Command lines of benchmarks."""

import pytest

from benchmarks import front_time, learning


@pytest.mark.parametrize("benchmark", [front_time, learning])
def test_a_case_that_is_not_there_is_refused_with_those_that_are(benchmark, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark", "CartPole-v0"])
    with pytest.raises(SystemExit):
        benchmark._arguments()
    message = capsys.readouterr().err
    assert "'CartPole-v0'; expected one of" in message
    assert all(name in message for name in benchmark.CASES)


@pytest.mark.parametrize("benchmark", [front_time, learning])
def test_without_a_name_all_cases_are_measured(benchmark, monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmark"])
    given = benchmark._arguments()
    assert given.cases == list(benchmark.CASES)


def test_a_configuration_file_is_a_case_where_it_is_there(monkeypatch, tmp_path):
    file = tmp_path / "own.yaml"
    file.touch()
    monkeypatch.setattr("sys.argv", ["benchmark", str(file)])
    assert learning._arguments().cases == [str(file)]
