"""What pytest leaves out, and how it runs.

tests/parity needs an environment of its own, see `make parity`; tests/postgres a server, see `make
test-postgres`; tests/pages a browser, see `make test-pages`.
"""

import torch
from hypothesis import settings

collect_ignore = ["pages", "parity", "postgres"]

# The tests' tensors are tiny: a second thread costs more than it brings.
torch.set_num_threads(1)

# A run repeats: the examples follow from the test alone. `--hypothesis-profile=default` looks for new ones.
settings.register_profile("repeats", derandomize=True)
settings.load_profile("repeats")
