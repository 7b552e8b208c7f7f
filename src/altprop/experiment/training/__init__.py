"""Training one network: the loop, its machine, checkpoints and loggers."""
