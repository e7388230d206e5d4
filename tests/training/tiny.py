"""A configuration that trains in seconds, shared by the tests of training."""

from tcmax_jax.data.inputs import FramesInput, SpectrogramInput
from tcmax_jax.data.sources.synthetic import SyntheticData
from tcmax_jax.models import MLPEncoder
from tcmax_jax.training.config import Config, Modality, Training
from tcmax_jax.training.config.overrides import override


def tiny_config(**overrides) -> Config:
    """Returns a tiny run on the synthetic set; overrides as {"training__epochs": 2}."""
    config = Config(
        name="tiny",
        data=SyntheticData(
            train_examples=70,
            validation_examples=30,
            test_examples=30,
            num_classes=3,
            audio_shape=(6, 6),
            visual_shape=(2, 6, 6),
        ),
        modalities={
            "audio": Modality(
                input=SpectrogramInput(standardize=False), encoder=MLPEncoder(sizes=(16, 8))
            ),
            "visual": Modality(
                input=FramesInput(size=None),
                encoder=MLPEncoder(sizes=(16, 8), mean=(0.5,), std=(0.25,)),
            ),
        },
        training=Training(epochs=3, batch_size=16, eval_batch_size=16, log_every=3, noise=()),
    )
    return override(config, {path.replace("__", "."): str(v) for path, v in overrides.items()})
