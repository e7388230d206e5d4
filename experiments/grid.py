r"""GRID talker s1: which of 51 words does a talking face say? Sound is easy, the mouth is hard.

Data: the clips of talker s1 of the GRID corpus (Cooke et al., JASA 120(5), 2006) and a manifest
that cuts them into spoken words, `id,split,label,path,start,end` (4500 / 600 / 900 words):

    python launch.py --experiment=grid --config.data.manifest=PATH/manifest.csv

and the same with --config.method=joint or =unimodal for the comparison.

Several methods, three seeds each, with intervals (`comparison` below; two hours on two cores):

    python launch.py --mode=compare --experiment=grid --config.data.manifest=...

In noise, with the list that experiments/grid_arrays.py writes for one level (--clips):

    python launch.py --mode=compare --experiment=grid --config.data.manifest=grid_-10dB/list.csv \
      --config.data.outside_paths=true --config.comparison.seeds='[0,1,2,3,4]' \
      --config.comparison.methods='["joint","unimodal","tcmax"]'

Hardware and time: 2 CPU cores; preparation takes about a minute, two trainings side by side took 17
minutes. It is sized for them: ResNet-18 of width 8 in place of 64; 96 pixels, since XLA is slow on
maps smaller than a kernel. Results of short runs: experiments/results/stability.md; of the words as
series, in noise as well: experiments/results/grid_noise.md.
"""

from tcmax_jax.data.forms import Frames, LogSpectrogram
from tcmax_jax.data.inputs import FramesInput, SpectrogramInput
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.methods import AGM, MLA, OGMGE, Joint, MMPareto, TCMax, Unimodal
from tcmax_jax.models import ResNetEncoder
from tcmax_jax.training.config import Comparison, Config, Modality, Training
from tcmax_jax.training.optimizer import SGD, Cosine


def config():
    """Returns the recipe."""
    return Config(
        name="grid",
        data=ManifestData(
            manifest="data/grid_s1/manifest.csv",
            stored={
                "audio": LogSpectrogram(
                    rate=16_000,
                    seconds=0.5,  # words last 0.04 .. 0.84 s, a quarter of a second on average
                    fill="tile",  # not silence, which would be most of the picture
                    n_fft=256,
                    hop=80,
                ),
                "visual": Frames(
                    count=3,
                    short_side=96,
                    box=(0.29, 0.61, 0.58, 0.885),  # the mouth
                ),
            },
        ),
        modalities={
            "audio": Modality(
                input=SpectrogramInput(steps=96, standardize=False),
                encoder=ResNetEncoder(width=8, mean=(-3.0,), std=(2.1,)),
            ),
            "visual": Modality(
                input=FramesInput(size=96, area=(0.6, 1.0)),
                encoder=ResNetEncoder(
                    width=8, mean=(0.661, 0.551, 0.415), std=(0.199, 0.115, 0.144)
                ),
            ),
        },
        optimizer=SGD(
            learning_rate=0.1,
            schedule=Cosine(warmup_epochs=1.0),
            weight_decay=1e-4,
        ),
        training=Training(epochs=10, batch_size=32, eval_batch_size=64, log_every=20),
        comparison=Comparison(
            methods=(
                Joint(),
                Unimodal(),
                OGMGE(alpha=0.8),  # its README, for CREMA-D
                # Its authors' answer for CREMA-D (AGM issue 5); responses as in the PyTorch TCMax
                # repository, since Shapley values did not train at this rate.
                AGM(alpha=1.5, response="split"),
                MMPareto(gamma=1.5),  # its official code
                MLA(),  # projection off, as in its published results
                TCMax(),
            ),
        ),
    )
