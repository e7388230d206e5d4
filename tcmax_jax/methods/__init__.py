"""Training methods behind one protocol: what is minimised, and how the result predicts."""

from tcmax_jax.methods.base import Method
from tcmax_jax.methods.joint import joint
from tcmax_jax.methods.tcmax import tcmax
from tcmax_jax.methods.unimodal import unimodal

__all__ = ["Method", "joint", "tcmax", "unimodal"]
