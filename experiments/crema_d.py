"""CREMA-D: which of six emotions does an actor show? Sound and three frames.

Data: AudioWAV/ and VideoFlash/ as the owners ship them, with train.csv and test.csv (`id,emotion`)
if you have the list that papers share (6698 / 744); see tcmax_jax/data/sources/crema_d.py. For
actors that are in one split only add --config.data.split=speaker.

    python launch.py --mode=prepare --experiment=crema_d --raw_dir=FOLDER
    python launch.py --experiment=crema_d

and for all methods, three seeds each:

    python launch.py --mode=compare --experiment=crema_d

Expected: the paper reports 82.7 % for TCMax with the shared head (a leaderboard quotes 77.6), 74.4
for MMPareto. Not run here: neither the data nor an accelerator was at hand; the tests build the
recipe and take a step of it on tiny data. Hardware: not measured. One GPU of 16 GB is meant.

Settings of the paper, but for two: the loss is exact in place of sampled negatives, of which 1024
were best in its ablation, and steps of TCMax are bounded (--config.optimizer.bound_decrease=false
leaves that out).
"""

from tcmax_jax.data.sources.crema_d import CremaDData
from tcmax_jax.training.config import Config, Model, Training, recipes


def config():
    """Returns the recipe."""
    return Config(
        name="crema_d",
        data=CremaDData(),
        modalities={"audio": recipes.sound(steps=862), "visual": recipes.pictures()},
        model=Model(fusion="share_head"),
        optimizer=recipes.sgd(170),
        training=Training(epochs=200, batch_size=32, eval_batch_size=64, threads=8, log_every=50),
        comparison=recipes.comparison(),
    )
