"""Kinetics-Sounds: which of 31 actions is seen and heard? Filter banks and three frames.

Data: the csv files of Kinetics-400 and its clips of ten seconds, in any folders; see
tcmax_jax/data/sources/kinetics_sounds.py. A part of the clips is enough with --allow_skipped.

    python launch.py --mode=prepare --experiment=kinetics_sounds --raw_dir=FOLDER
    python launch.py --experiment=kinetics_sounds

and for all methods, three seeds each:

    python launch.py --mode=compare --experiment=kinetics_sounds

Expected: the paper reports 63.5 % for TCMax with the shared head, 62.7 for MMPareto. Not run here:
neither the data nor an accelerator was at hand; the tests build the recipe and take a step of it on
tiny data. Hardware: not measured. One GPU of 16 GB is meant.

Settings of the paper, but for two: the loss is exact in place of sampled negatives, and steps of
TCMax are bounded (--config.optimizer.bound_decrease=false leaves that out).
"""

from tcmax_jax.data.sources.kinetics_sounds import KineticsSoundsData
from tcmax_jax.training.config import Config, Model, Training, recipes


def config():
    """Returns the recipe."""
    return Config(
        name="kinetics_sounds",
        data=KineticsSoundsData(),
        modalities={"audio": recipes.sound(steps=None), "visual": recipes.pictures()},
        model=Model(fusion="share_head"),
        optimizer=recipes.sgd(150),
        training=Training(epochs=200, batch_size=64, eval_batch_size=64, threads=8, log_every=50),
        comparison=recipes.comparison(),
    )
