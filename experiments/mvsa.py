"""MVSA-Single: which of three sentiments has a tweet? Frozen CLIP features of picture and text.

Data: train.jsonl, dev.jsonl and test.jsonl (1555 / 518 / 519), the list that papers share, with
image.npz and text.npz beside them. Get the features from CLIP, or from any model of yours:

    python experiments/embed.py --raw_dir=FOLDER --model=openai/clip-vit-base-patch32

then

    python launch.py --experiment=mvsa --raw_dir=FOLDER
    python launch.py --mode=compare --experiment=mvsa --raw_dir=FOLDER

Heads only are trained, ten seeds in the comparison; minutes on a CPU. With RN50 in place of
ViT-B/32 set --config.data.stored.image.size=1024, and the same for text and for both encoders.

The paper reports 84.05 % for TCMax with ViT-B/32, 82.83 for joint training. Not run here: the data
was not at hand. Its rate and number of epochs are not known here; those below are ours.
"""

from tcmax_jax.data.inputs import ArrayInput
from tcmax_jax.data.sources.mvsa import MvsaData
from tcmax_jax.methods import MLA, Joint, TCMax, Unimodal
from tcmax_jax.models import FrozenEncoder
from tcmax_jax.training.config import Comparison, Config, Modality, Training
from tcmax_jax.training.optimizer import SGD


def config():
    """Returns the recipe."""
    frozen = Modality(input=ArrayInput(standardize=False), encoder=FrozenEncoder(size=512))
    return Config(
        name="mvsa",
        data=MvsaData(),
        modalities={"image": frozen, "text": frozen},
        optimizer=SGD(learning_rate=0.01, schedule="cosine", weight_decay=1e-4),
        training=Training(epochs=50, batch_size=64, eval_batch_size=64),
        comparison=Comparison(
            methods=(Joint(), Unimodal(), TCMax(), MLA()), seeds=tuple(range(10))
        ),
    )
