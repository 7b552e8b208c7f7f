"""The how-to's programs run."""

import torch

from tests.test_house import HOUSE, python_blocks


def test_the_programs_of_the_page_on_lrp_run(capsys):
    page = HOUSE / "docs" / "lrp.md"
    with torch.random.fork_rng(devices=()):
        exec(compile(python_blocks(page), page, "exec"), {})
    printed = capsys.readouterr().out
    assert "Flat(epsilon=1e-06)" in printed and "reached the inputs" in printed


def test_the_programs_of_the_page_on_more_run(tmp_path, monkeypatch, capsys):
    page = HOUSE / "docs" / "explaining_more.md"
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng(devices=()):
        exec(compile(python_blocks(page), page, "exec"), {})
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == ["random", "gradient", "epsilon_plus", "alpha1_beta0", "epsilon"]
    assert (tmp_path / "patterns.pt").exists()
