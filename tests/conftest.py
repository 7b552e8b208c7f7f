"""What pytest leaves out: tests/parity needs an environment of its own, see `make parity`."""

collect_ignore = ["parity"]
