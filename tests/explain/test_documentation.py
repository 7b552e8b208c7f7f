"""The how-to's programs run."""

from tests.test_house import HOUSE, python_blocks, run


def test_the_programs_of_the_page_run(tmp_path):
    program = python_blocks(HOUSE / "docs" / "explaining_more.md")
    assert program.count("pixel_flipping(") == 2
    assert "random" in run(program, tmp_path)
