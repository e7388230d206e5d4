"""TensorFlow Datasets builder of the built-in synthetic set."""

import dataclasses
import os
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from tcmax_jax.data.pictures import encode_image
from tcmax_jax.data.preparation.naming import digest
from tcmax_jax.data.preparation.quiet import quiet
from tcmax_jax.data.synthetic import generate


@dataclasses.dataclass(frozen=True, kw_only=True)
class SyntheticSettings:
    """Sizes and knobs, see `tcmax_jax.data.synthetic.generate`.

    Attributes:
        train_examples: Number of training examples.
        validation_examples: Number of validation examples.
        test_examples: Number of test examples.
        num_classes: Number of classes.
        audio_signal: Strength of the class pattern in the spectrogram.
        audio_noise: Standard deviation of the noise in the spectrogram.
        visual_signal: Contrast of the class pattern in the frames.
        visual_noise: Standard deviation of the noise in the frames.
        correlation: Strength of what the modalities share beyond the label.
        audio_shape: Frequencies and time steps of the spectrogram.
        visual_shape: Frames, height and width of the pictures.
        seed: Seed of the examples.
    """

    train_examples: int
    validation_examples: int
    test_examples: int
    num_classes: int
    audio_signal: float
    audio_noise: float
    visual_signal: float
    visual_noise: float
    correlation: float
    audio_shape: tuple[int, int]
    visual_shape: tuple[int, int, int]
    seed: int


@dataclasses.dataclass(eq=False, kw_only=True)
class SyntheticConfig(tfds.core.BuilderConfig):
    """Names a data set after its settings."""

    settings: SyntheticSettings


class Synthetic(tfds.core.GeneratorBasedBuilder):
    """Spectrograms and frames in the same form as those of decoded clips."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        settings = self.builder_config.settings
        features = {
            "id": tfds.features.Text(),
            "label": tfds.features.ClassLabel(
                names=[f"class{i}" for i in range(settings.num_classes)]
            ),
            "audio": tfds.features.Tensor(
                shape=settings.audio_shape, dtype=np.float16, encoding="bytes"
            ),
            "visual": tfds.features.Tensor(shape=(settings.visual_shape[0],), dtype=np.str_),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(kinds={"audio": "spectrogram", "visual": "frames"}),
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        del dl_manager
        return {
            split: self._generate_examples(number, split)
            for number, split in enumerate(("train", "validation", "test"))
        }

    def _generate_examples(self, number: int, split: str) -> Iterator[tuple[str, dict]]:
        settings = dataclasses.asdict(self.builder_config.settings)
        sizes = {name: settings.pop(f"{name}_examples") for name in ("train", "validation", "test")}
        settings["seed"] = 3 * settings["seed"] + number
        examples = generate(sizes[split], **settings)
        for i, (audio, frames, label) in enumerate(
            zip(examples["audio"], examples["visual"], examples["label"], strict=True)
        ):
            key = f"{split}{i}"
            # PNG, since JPEG would blur the noise of such small pictures.
            images = [encode_image(frame, lossless=True) for frame in frames]
            yield key, {"id": key, "label": int(label), "audio": audio, "visual": images}


def prepare_synthetic(settings: SyntheticSettings, data_dir: str | os.PathLike) -> Synthetic:
    """Generate the set of these settings unless that was done before.

    Args:
        settings: Sizes and knobs.
        data_dir: Folder that holds the prepared data sets.

    Returns:
        The builder of the prepared data.
    """
    name = digest(dataclasses.asdict(settings))
    config = SyntheticConfig(name=name, settings=settings)
    with quiet():
        builder = Synthetic(config=config, data_dir=data_dir, file_format="array_record")
        if not builder.is_prepared():
            builder.download_and_prepare()
    return builder
