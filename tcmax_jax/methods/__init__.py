"""Training methods behind one protocol: what is minimised, and how the result predicts.

Each file has the options of a method and what they make; importing it here makes it known by its
kind to configurations. Tables list the methods in this order.
"""

from tcmax_jax.methods.base import Forward, Loss, Method, MethodOptions, Sizes, Step, Turn
from tcmax_jax.methods.joint import Joint
from tcmax_jax.methods.unimodal import Unimodal
from tcmax_jax.methods.tcmax import TCMax
from tcmax_jax.methods.infonce import InfoNCE
from tcmax_jax.methods.ogm import OGM, OGMGE, modulate
from tcmax_jax.methods.opm import OPM
from tcmax_jax.methods.agm import AGM
from tcmax_jax.methods.qmf import QMF
from tcmax_jax.methods.pmr import PMR
from tcmax_jax.methods.mla import MLA
from tcmax_jax.methods.mmpareto import MMPareto, pareto
