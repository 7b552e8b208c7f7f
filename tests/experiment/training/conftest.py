"""What tests of trainings share."""

import pytest

from altprop.experiment import load_data
from altprop.experiment.sources import Splits


@pytest.fixture(scope="session")
def circles():
    return Splits.of(load_data("circles"))
