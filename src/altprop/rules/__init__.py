"""The learning rules, one file for each way that credit flows."""
