"""UCF101: which of 101 actions? Three frames and ten fields of optical flow.

Data: UCF-101/ and ucfTrainTestlist/ as the owners ship them (official split 1, 9537 / 3783); see
tcmax_jax/data/sources/ucf101.py. Validation takes whole groups; --config.data.validation=example
cuts single clips, as the PyTorch code does.

    python launch.py --mode=prepare --experiment=ucf101 --raw_dir=FOLDER
    python launch.py --experiment=ucf101

and for all methods, three seeds each:

    python launch.py --mode=compare --experiment=ucf101

Expected: the paper reports 56.0 % for TCMax with the shared head, 55.9 for MMPareto. Not run here:
neither the data nor an accelerator was at hand; the tests build the recipe and take a step of it on
tiny data. Hardware: not measured. One GPU of 16 GB is meant.

Settings of the paper, but for two: the loss is exact in place of sampled negatives, of which 256
were best in its ablation, and steps of TCMax are bounded (--config.optimizer.bound_decrease=false
leaves that out).
"""

from tcmax_jax.data.sources.ucf101 import Ucf101Data
from tcmax_jax.training.config import Config, Model, Training, recipes


def config():
    """Returns the recipe."""
    return Config(
        name="ucf101",
        data=Ucf101Data(),
        modalities={"visual": recipes.pictures(), "flow": recipes.motion()},
        model=Model(fusion="share_head"),
        optimizer=recipes.sgd(300),
        training=Training(epochs=400, batch_size=32, eval_batch_size=64, threads=8, log_every=50),
        comparison=recipes.comparison(),
    )
