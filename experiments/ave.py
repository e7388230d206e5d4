"""AVE: which of 28 audio-visual events? Sound and three frames.

Data: AVE/ and its lists as the owners ship them (3339 / 402 / 402); see
tcmax_jax/data/sources/ave.py.

    python launch.py --mode=prepare --experiment=ave --raw_dir=FOLDER
    python launch.py --experiment=ave

and for all methods, three seeds each:

    python launch.py --mode=compare --experiment=ave

Expected: the paper reports 64.5 % for TCMax with the shared head, 63.1 for MMPareto. Not run here:
neither the data nor an accelerator was at hand; the tests build the recipe and take a step of it on
tiny data. Hardware: not measured. One GPU of 16 GB is meant.

Settings of the paper, but for two: the loss is exact in place of sampled negatives, and steps of
TCMax are bounded (--config.optimizer.bound_decrease=false leaves that out).
"""

from tcmax_jax.data.sources.ave import AveData
from tcmax_jax.training.config import Config, Model, Training, recipes


def config():
    """Returns the recipe."""
    return Config(
        name="ave",
        data=AveData(),
        modalities={"audio": recipes.sound(steps=862), "visual": recipes.pictures()},
        model=Model(fusion="share_head"),
        optimizer=recipes.sgd(150),
        training=Training(epochs=200, batch_size=32, eval_batch_size=64, threads=8, log_every=50),
        comparison=recipes.comparison(),
    )
