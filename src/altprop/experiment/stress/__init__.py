"""Trained networks under stress: pruned, and attacked; and what is left of their accuracy."""
