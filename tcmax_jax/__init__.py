"""TCMax in JAX and Flax: multimodal classification by total correlation maximisation."""
