"""Your own clips with sound and pictures: a recipe to copy and adjust.

Data: a CSV file `id,split,label,path[,audio_path][,start][,end]`, see docs/data.md:

    python launch.py --experiment=own_clips --config.data.manifest=clips.csv

docs/tutorial.md goes through it step by step. Hardware: one GPU for thousands of clips; without one
try `encoder.width=16`, or `encoder.kind=mlp` with small inputs. Nothing was measured with it.
"""

from tcmax_jax.data.forms import Frames, LogSpectrogram
from tcmax_jax.data.inputs import FramesInput, SpectrogramInput
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.models import ResNetEncoder
from tcmax_jax.training.config import Config, Modality, Training
from tcmax_jax.training.optimizer import SGD, Cosine


def config():
    """Returns the recipe."""
    return Config(
        name="own_clips",
        data=ManifestData(
            manifest="clips.csv",
            stored={
                # Longer than what is trained on, which is cropped from it anew in each epoch.
                "audio": LogSpectrogram(rate=16_000, seconds=5.0, n_fft=512, hop=160),
                "visual": Frames(count=3, short_side=128),
            },
        ),
        modalities={
            "audio": Modality(
                input=SpectrogramInput(steps=400),
                encoder=ResNetEncoder(),
            ),
            "visual": Modality(
                input=FramesInput(size=112, area=(0.3, 1.0)),
                encoder=ResNetEncoder(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
            ),
        },
        optimizer=SGD(
            schedule=Cosine(warmup_epochs=1.0),
            weight_decay=1e-4,
            clip_norm=1.0,  # inputs of any scale, and dense encoders in place of residual ones
        ),
        training=Training(epochs=50, batch_size=32, eval_batch_size=64),
    )
