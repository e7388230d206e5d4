"""AVE: which of 28 audio-visual events? AST on filter banks and ViT-B/16 on three frames.

Data: AVE/ and its lists as the owners ship them (3339 / 402 / 402); see
tcmax_jax/data/sources/ave.py. Published weights, which you get from Hugging Face:

    pip install 'tcmax_jax[train,media,pretrained]' huggingface_hub
    hf download google/vit-base-patch16-224 model.safetensors --local-dir=vit
    hf download MIT/ast-finetuned-audioset-10-10-0.4593 model.safetensors --local-dir=ast

Then

    python launch.py --mode=prepare --experiment=ave_transformers --raw_dir=FOLDER
    python launch.py --experiment=ave_transformers \
        --config.modalities.audio.encoder.weights=ast/model.safetensors \
        --config.modalities.visual.encoder.weights=vit/model.safetensors

and with --mode=compare for joint training, the unimodal ensemble, TCMax and MMPareto, three seeds
each.
Without weights the encoders start at random numbers, and their rate is far too small for that.

AVE is a part of AudioSet, and AST was trained on AudioSet with its labels: sound that it knows may
be in the test split. Say so with any number that comes of these weights.

Hardware: not measured; one GPU of 24 GB is meant. AST's 1214 tokens a clip take most of its memory:
raise --config.training.accumulate, or set --config.modalities.audio.encoder.remat=true.

No accuracy was measured: neither data, weights nor an accelerator was at hand. The tests train the
recipe on tiny files, with random weights under the published names. All settings are ours; those of
the paper, with ResNet-18 from scratch, are in experiments/ave.py.
"""

from tcmax_jax.data.forms import FilterBank, Frames
from tcmax_jax.data.inputs import FramesInput, SpectrogramInput
from tcmax_jax.data.sources.ave import AveData
from tcmax_jax.methods import Joint, MMPareto, TCMax, Unimodal
from tcmax_jax.models import VisionTransformerEncoder
from tcmax_jax.models.fusion import Shared
from tcmax_jax.training.config import Comparison, Config, Modality, Model, Training
from tcmax_jax.training.optimizer import AdamW, Cosine

# AST was trained on filter banks less AudioSet's mean, over twice its standard deviation.
SOUND = {"mean": (-4.2677393,), "std": (2 * 4.5689974,)}
PICTURES = {"mean": (0.5,), "std": (0.5,)}  # of all channels, as ViT was trained


def config():
    """Returns the recipe."""
    audio = Modality(
        input=SpectrogramInput(standardize=False),
        encoder=VisionTransformerEncoder(style="ast", **SOUND),
    )
    visual = Modality(input=FramesInput(size=224), encoder=VisionTransformerEncoder(**PICTURES))
    stored = {"audio": FilterBank(bins=128, steps=1024), "visual": Frames(count=3, short_side=256)}
    return Config(
        name="ave_transformers",
        data=AveData(stored=stored),
        modalities={"audio": audio, "visual": visual},
        model=Model(fusion="share_head", dtype="bfloat16"),
        optimizer=AdamW(
            learning_rate=1e-3,
            schedule=Cosine(warmup_epochs=1.0),
            weight_decay=0.01,
            clip_norm=1.0,
            factors={"encoders_audio/*": 0.01, "encoders_visual/*": 0.02},
        ),
        training=Training(
            epochs=15, batch_size=32, accumulate=8, eval_batch_size=32, threads=8, log_every=50
        ),
        # Others scale gradients of encoders, which Adam divides by their size again.
        comparison=Comparison(
            methods=(Joint(), Unimodal(), TCMax(), MMPareto(gamma=1.5)),
            fusions=(Shared(),),
            seeds=(0, 1, 2),
        ),
    )
