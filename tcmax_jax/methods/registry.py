"""Which methods there are, and which heads each of them can train."""

from collections.abc import Callable
from typing import NamedTuple

from tcmax_jax.methods.agm import agm
from tcmax_jax.methods.infonce import infonce
from tcmax_jax.methods.joint import joint
from tcmax_jax.methods.mla import mla
from tcmax_jax.methods.mmpareto import mmpareto
from tcmax_jax.methods.ogm import ogm, ogm_ge
from tcmax_jax.methods.opm import opm
from tcmax_jax.methods.pmr import pmr
from tcmax_jax.methods.qmf import qmf
from tcmax_jax.methods.tcmax import tcmax
from tcmax_jax.methods.unimodal import unimodal
from tcmax_jax.models.fusion import ADDITIVE_FUSIONS, FUSIONS

_ADDITIVE = tuple(ADDITIVE_FUSIONS)


class Entry(NamedTuple):
    """A method of the registry.

    Attributes:
      make: function of its options that returns the `Method`.
      fusions: names of the heads that it can train.
      takes_modalities: whether `make` takes the names of the modalities first.
      bends_encoders: whether it differs from joint training only in the gradients of encoders.
    """

    make: Callable
    fusions: tuple[str, ...] = tuple(FUSIONS)
    takes_modalities: bool = False
    bends_encoders: bool = False


METHODS = {
    "tcmax": Entry(tcmax),
    "joint": Entry(joint),
    "unimodal": Entry(unimodal, _ADDITIVE),
    "infonce": Entry(infonce),
    "ogm": Entry(ogm, _ADDITIVE, bends_encoders=True),
    "ogm_ge": Entry(ogm_ge, _ADDITIVE, bends_encoders=True),
    "opm": Entry(opm, _ADDITIVE),
    "agm": Entry(agm),
    "qmf": Entry(qmf, _ADDITIVE),
    "pmr": Entry(pmr),
    "mla": Entry(mla, ("share_head",), takes_modalities=True),
    "mmpareto": Entry(mmpareto, ("concat_msh",), takes_modalities=True, bends_encoders=True),
}
