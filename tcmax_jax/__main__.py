"""`python -m tcmax_jax`, the same as the command `tcmax_jax`."""

from tcmax_jax.launch import run

if __name__ == "__main__":
    run()
