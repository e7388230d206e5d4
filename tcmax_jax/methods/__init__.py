"""Training methods behind one interface: the loss to minimise, and how the result predicts.

Each file defines the options of a method and the method itself; importing it here registers its
`kind` for configurations. Tables list the methods in this order.
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
