"""TCMax in JAX and Flax: multimodal classification by total correlation maximisation."""

__version__ = "0.2.0"
