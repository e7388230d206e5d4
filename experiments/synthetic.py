r"""The built-in audio-visual set (an easy sound, a hard picture), and all methods on it.

TCMax alone, which is also what `python launch.py` runs:

    python launch.py --experiment=synthetic

All methods, three seeds each, with intervals (`comparison` below; half an hour on two cores):

    python launch.py --mode=compare --experiment=synthetic

Joint training with other heads, beside each encoder trained alone:

    python launch.py --mode=compare --experiment=synthetic \
      --config.comparison.methods='["joint","unimodal-modality=audio","unimodal-modality=visual"]' \
      --config.comparison.fusions='["concat","film","gated"]'

Results: experiments/results/synthetic_comparison.md.
"""

from tcmax_jax.methods import (
    AGM,
    MLA,
    OGM,
    OGMGE,
    OPM,
    PMR,
    QMF,
    InfoNCE,
    Joint,
    MMPareto,
    TCMax,
    Unimodal,
)
from tcmax_jax.training.config import Comparison, Config


def config():
    """Returns the recipe."""
    return Config(
        comparison=Comparison(
            methods=(
                Joint(),
                Unimodal(),
                Unimodal(modality="audio"),
                Unimodal(modality="visual"),
                TCMax(),
                InfoNCE(weight=1.0, temperature=0.07),  # the temperature of CLIP
                OGM(alpha=0.8, last_epoch=50),  # its README, for CREMA-D; its scripts
                OGMGE(alpha=0.8, last_epoch=50),
                OPM(base=0.5, strength=0.5, apply_probability=0.7, warmup_epochs=6),  # its code
                AGM(alpha=1.0, last_epoch=20),  # its code
                QMF(rank_weight=1.0),  # its text-image code
                PMR(alpha=1.0, momentum=0.2, last_epoch=100),  # its code
                MLA(),  # projection off, as in its published results
                MMPareto(gamma=1.5),  # its official code
            ),
            seeds=(0, 1, 2),
        ),
    )
