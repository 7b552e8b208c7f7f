"""Data sets of any size: in memory or on disk, cut into what trains, what validates and what tests."""
