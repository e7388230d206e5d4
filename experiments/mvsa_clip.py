"""MVSA-Single: which of three sentiments has a tweet? Both towers of CLIP, trained further.

Data: train.jsonl, dev.jsonl and test.jsonl (1555 / 518 / 519), the list that papers share, and the
pictures that they name as "img"; see tcmax_jax/data/sources/mvsa.py. Weights and tokenizer are
those of openai/clip-vit-base-patch32, which you get from Hugging Face; one file holds both towers:

    pip install 'tcmax_jax[train,media,pretrained,text]' huggingface_hub
    hf download openai/clip-vit-base-patch32 model.safetensors tokenizer.json --local-dir=clip

(A copy with weights of another kind alone becomes such a file with transformers and torch:
CLIPModel.from_pretrained(NAME).save_pretrained("clip").) Then

    python experiments/tokens.py --raw_dir=FOLDER --tokenizer=clip/tokenizer.json
    python launch.py --mode=prepare --experiment=mvsa_clip --raw_dir=FOLDER
    python launch.py --experiment=mvsa_clip \
        --config.modalities.image.encoder.weights=clip/model.safetensors \
        --config.modalities.text.encoder.weights=clip/model.safetensors

and with --mode=compare for joint training, the unimodal ensemble, TCMax and QMF, three seeds each.
Without weights the encoders start at random numbers, and their rate is far too small for that.

Hardware: not measured; one GPU of 16 GB is meant. Where its memory does not suffice raise
--config.training.accumulate.

No accuracy was measured: neither data, weights nor an accelerator was at hand. The tests train the
recipe on tiny files, with random weights under the published names. All settings are ours; the
paper trains heads on frozen features, see experiments/mvsa.py.
"""

from tcmax_jax.data.forms import Arrays, Frames
from tcmax_jax.data.inputs import FramesInput, SeriesInput
from tcmax_jax.data.sources.mvsa import MvsaData
from tcmax_jax.methods import QMF, Joint, TCMax, Unimodal
from tcmax_jax.models import TextTransformerEncoder, VisionTransformerEncoder
from tcmax_jax.training.config import Comparison, Config, Modality, Model, Training
from tcmax_jax.training.optimizer import AdamW, Cosine

LENGTH = 77  # tokens of the longest text that CLIP takes
# Channel statistics of the pictures that CLIP was trained on.
STATISTICS = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}


def config():
    """Returns the recipe."""
    image = Modality(
        # A small crop may lose what the sentiment hangs on.
        input=FramesInput(size=224, area=(0.5, 1.0)),
        encoder=VisionTransformerEncoder(style="clip", patch=32, **STATISTICS),
    )
    text = Modality(
        input=SeriesInput(),
        encoder=TextTransformerEncoder(
            style="clip", vocabulary_size=49408, max_length=LENGTH, width=512, heads=8
        ),
    )
    # Given, so that the recipe is complete before there are files.
    tokens = Arrays(path="tokens.npz", shape=(LENGTH,), dtype="int32", varying=True)
    return Config(
        name="mvsa_clip",
        data=MvsaData(stored={"image": Frames(count=1, short_side=256), "text": tokens}),
        modalities={"image": image, "text": text},
        # A sum of two parts, since the features have 768 and 512 entries.
        model=Model(fusion="concat", dtype="bfloat16"),
        optimizer=AdamW(
            learning_rate=1e-3,
            schedule=Cosine(warmup_epochs=1.0),
            weight_decay=0.01,
            clip_norm=1.0,
            factors={"encoders_image/*": 0.01, "encoders_text/*": 0.01},
        ),
        training=Training(epochs=10, batch_size=64, accumulate=2, eval_batch_size=64, threads=4),
        # Others scale gradients of encoders, which Adam divides by their size again, or need
        # features of one size.
        comparison=Comparison(methods=(Joint(), Unimodal(), TCMax(), QMF()), seeds=(0, 1, 2)),
    )
