"""Configuration, train step, loop, checkpoints and logs."""
