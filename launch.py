"""Starts tcmax_jax from a checkout; see `python launch.py --help`."""

from tcmax_jax.launch import run

if __name__ == "__main__":
    run()
