"""What is said of a data set, in Python and on the command line."""

import pytest
from typer.testing import CliRunner

import altprop.cli
from altprop.experiment.data.catalog import DATA_SETS
from altprop.experiment.data.describe import describe


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *words: CliRunner().invoke(altprop.cli.app, [str(word) for word in words])


@pytest.mark.parametrize("words", [["data"], ["data", "list"]])
def test_the_list_says_of_each_set_what_it_is_and_where_it_is_from(run, words):
    outcome = run(*words)
    assert outcome.exit_code == 0
    for name, known in DATA_SETS.items():
        row = next(line for line in outcome.stdout.splitlines() if f" {name} " in line)
        assert known.task in row
        assert ("embedded" if known.read is None else "download" if known.downloads else "yours") in row
    assert "hf:NAME" in outcome.stdout


@pytest.mark.parametrize("name", [*DATA_SETS, "hf:some/thing", "cifar-10:/data"])
def test_a_set_is_described(run, name):
    rows = describe(name)
    outcome = run("data", "info", name)
    assert outcome.exit_code == 0
    assert all(heading in outcome.stdout for heading, _ in rows)
    assert dict(rows)["published"]


def test_normalisation_and_augmentation_are_told():
    rows = dict(describe("svhn"))
    assert rows["mean"] == "0.4377, 0.4438, 0.4728"
    assert rows["augmentation"] == "shifted by up to 4 pixels"
    assert "256" in dict(describe("flowers-102"))["brought to"]


def test_an_embedded_set_needs_no_download(run):
    assert run("data", "download", "sine").stdout == "sine: 1,000 examples for training, 500 for testing.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data", "info", "cifar"], "There is no data set 'cifar'. Did you mean 'cifar-10"),
        (["data", "download", "food-11:FOLDER"], "FOLDER/food-11 has no training, validation, evaluation."),
        (["compare", "--data", "mnist:FOLDER", "--out", "FOLDER/runs"], "FOLDER/MNIST/raw has no train-images"),
        (["explain", "--data", "mnits"], "There is no data set 'mnits'. Did you mean 'mnist'?"),
    ],
)
def test_what_cannot_be_is_a_line_and_status_2_and_leaves_nothing(run, tmp_path, words, message):
    outcome = run(*(word.replace("FOLDER", str(tmp_path)) for word in words))
    assert outcome.exit_code == 2
    assert message.replace("FOLDER", str(tmp_path)) in outcome.stderr
    assert "\n" not in outcome.stderr.strip()
    assert not list(tmp_path.iterdir())
