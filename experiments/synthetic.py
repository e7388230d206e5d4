r"""The built-in audio-visual set (an easy sound, a hard picture), and all methods on it.

TCMax alone, which is also what `python launch.py` runs:

    python launch.py --experiment=synthetic

All methods, three seeds each, with intervals (`comparison` below; half an hour on two cores):

    python launch.py --mode=compare --experiment=synthetic

Joint training with other heads, beside each encoder trained alone:

    python launch.py --mode=compare --experiment=synthetic \
      --config.comparison.methods='["joint","unimodal-modality=audio","unimodal-modality=visual"]' \
      --config.comparison.fusions='["concat","film","gated"]'

Results: experiments/results/synthetic.md, experiments/results/synthetic_comparison.md.
"""

from tcmax_jax.training import config as c
from tcmax_jax.training.config import method as m


def config():
    """Returns the recipe."""
    return c.Config(
        comparison=c.Comparison(
            methods=(
                m.Joint(),
                m.Unimodal(),
                m.Unimodal(modality="audio"),
                m.Unimodal(modality="visual"),
                m.TCMax(),
                m.InfoNCE(weight=1.0, temperature=0.07),  # the temperature of CLIP
                m.OGM(alpha=0.8, last_epoch=50),  # its README, for CREMA-D; its scripts
                m.OGM(name="ogm_ge", alpha=0.8, last_epoch=50),
                m.OPM(base=0.5, strength=0.5, apply_probability=0.7, warmup_epochs=6),  # its code
                m.AGM(alpha=1.0, last_epoch=20),  # its code
                m.QMF(rank_weight=1.0),  # its text-image code
                m.PMR(alpha=1.0, momentum=0.2, last_epoch=100),  # its code
                m.MLA(),  # projection off, as in its published results
                m.MMPareto(gamma=1.5),  # its official code
            ),
            seeds=(0, 1, 2),
        ),
    )
