"""The progress bar."""

import io

from rich.console import Console

from altprop.experiment.training.progress import Bar


def test_the_bar_shows_the_stage_the_share_that_is_done_and_the_time_left():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Bar(console) as bar:
        bar.begin(40)
        bar.stage("lfp, seed 0")
        for _ in range(10):
            bar.advance()
        bar._progress.refresh()
        quarter = console.file.getvalue()
        bar.reach(40)
        bar._progress.refresh()
    assert "lfp, seed 0" in quarter
    assert "25%" in quarter
    assert "left:" in quarter
    assert "100%" not in quarter
    assert "100%" in console.file.getvalue()
