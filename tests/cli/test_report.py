"""``altprop report``: it says what the library says."""

import pytest

from tests.experiment.reports.toys import compared, recipe_run


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr("altprop.experiment.reports.output.pictures_of", lambda *_: [])


def test_the_table_is_printed_and_the_page_is_where_it_says(run, tmp_path):
    compared(tmp_path / "runs" / "one")
    recipe_run(tmp_path / "runs" / "two")
    outcome = run("report", tmp_path / "runs" / "one", tmp_path / "runs" / "two", "--out", tmp_path, "--name", "both")
    assert outcome.exit_code == 0
    assert "0.700 ± 0.141" in outcome.stdout
    assert "0.750" in outcome.stdout
    assert f"Report: {tmp_path / 'both' / 'report.html'}" in outcome.stdout
    assert (tmp_path / "both" / "table.md").is_file()


def test_a_damaged_run_among_others_is_named_and_nothing_is_written(run, tmp_path):
    compared(tmp_path / "runs" / "good")
    (compared(tmp_path / "runs" / "bad") / "study.json").write_text("{")
    outcome = run("report", tmp_path / "runs", "--out", tmp_path / "out")
    assert outcome.exit_code == 2
    assert len(outcome.stderr.splitlines()) == 1
    assert f"{tmp_path / 'runs' / 'bad' / 'study.json'} is damaged: " in outcome.stderr
    assert "study.json is damaged: it has 1 bytes" in outcome.stderr
    assert not (tmp_path / "out").exists()
