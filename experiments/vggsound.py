"""VGGSound: which of 309 sounds? Sound and four frames.

Data: vggsound.csv and the clips of ten seconds that are still to be had, in any folders; see
tcmax_jax/data/sources/vggsound.py. --allow_skipped leaves out what is missing, and says how much.

    python launch.py --mode=prepare --experiment=vggsound --raw_dir=FOLDER
    python launch.py --experiment=vggsound

and for all methods, three seeds each:

    python launch.py --mode=compare --experiment=vggsound

Expected: the paper reports 47.6 % for TCMax with the shared head, 46.2 for MMPareto. Not run here:
neither the data nor an accelerator was at hand; the tests build the recipe and take a step of it on
tiny data. Hardware: not measured. Several GPUs or a TPU slice are meant: some 2000 steps an epoch.

Settings of the paper, but for two: the loss is exact in place of sampled negatives, and steps of
TCMax are bounded (--config.optimizer.bound_decrease=false leaves that out).
"""

from tcmax_jax.data.forms import Frames, LogSpectrogram
from tcmax_jax.data.sources.vggsound import VggsoundData
from tcmax_jax.training.config import Config, Model, Training, recipes


def config():
    """Returns the recipe."""
    return Config(
        name="vggsound",
        data=VggsoundData(stored={"audio": LogSpectrogram(), "visual": Frames(count=4)}),
        modalities={"audio": recipes.sound(steps=862), "visual": recipes.pictures()},
        model=Model(fusion="share_head"),
        optimizer=recipes.sgd(70),
        training=Training(epochs=100, batch_size=64, eval_batch_size=64, threads=8, log_every=200),
        comparison=recipes.comparison(),
    )
