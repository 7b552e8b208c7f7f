"""What pytest leaves out, and how it runs.

tests/parity needs an environment of its own, see `make parity`; tests/postgres a server, see `make
test-postgres`; tests/pages a browser, see `make test-pages`.
"""

import os
import signal
from multiprocessing import get_context

os.environ.setdefault("OMP_NUM_THREADS", "1")  # also of processes that tests start: the others are at work beside them

import pytest
import torch
from hypothesis import settings

collect_ignore = ["pages", "parity", "postgres"]

# Who starts the tests in the background, or by nohup, ignores these for them; tests of signals count on them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

get_context("forkserver").set_forkserver_preload(["tests.preloaded"])

# The tests' tensors are tiny: a second thread costs more than it brings.
torch.set_num_threads(1)

# torch.manual_seed formats the whole stack for each kind of device that is not there, to say later where it was called:
# that took a third of the time of many tests.
for _devices in (torch.cuda, torch.xpu, torch.mtia):
    if not _devices.is_available():
        _devices.manual_seed_all = lambda seed: None

# A run repeats: the examples follow from the test alone. `--hypothesis-profile=default` looks for new ones.
settings.register_profile("repeats", derandomize=True)
settings.load_profile("repeats")


@pytest.fixture
def without_pictures():
    """Reports of studies without their pictures, which take longer than all the rest, and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("altprop.experiment.reports.study.pictures", lambda study, splits: [])
        yield
