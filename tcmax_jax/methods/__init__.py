"""Training methods behind one protocol: what is minimised, and how the result predicts."""

from tcmax_jax.methods.agm import agm
from tcmax_jax.methods.base import Forward, Loss, Method, Sizes, Step, Turn
from tcmax_jax.methods.infonce import infonce
from tcmax_jax.methods.joint import joint
from tcmax_jax.methods.mla import mla
from tcmax_jax.methods.mmpareto import mmpareto, pareto
from tcmax_jax.methods.ogm import modulate, ogm, ogm_ge
from tcmax_jax.methods.opm import opm
from tcmax_jax.methods.pmr import pmr
from tcmax_jax.methods.qmf import qmf
from tcmax_jax.methods.registry import METHODS
from tcmax_jax.methods.tcmax import tcmax
from tcmax_jax.methods.unimodal import unimodal

__all__ = [
    "METHODS",
    "Forward",
    "Loss",
    "Method",
    "Sizes",
    "Step",
    "Turn",
    "agm",
    "infonce",
    "joint",
    "mla",
    "mmpareto",
    "modulate",
    "ogm",
    "ogm_ge",
    "opm",
    "pareto",
    "pmr",
    "qmf",
    "tcmax",
    "unimodal",
]
