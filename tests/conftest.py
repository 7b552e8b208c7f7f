"""What pytest leaves out, and how it runs: tests/parity needs an environment of its own, see `make parity`."""

import torch

collect_ignore = ["parity"]

# The tests' tensors are tiny: a second thread costs more than it brings.
torch.set_num_threads(1)
