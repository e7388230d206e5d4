"""What all builders of TensorFlow Datasets have in common here: names, records, silence."""

import contextlib
import dataclasses
import inspect
import io
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from tcmax_jax.data.sources import Source


@dataclasses.dataclass(eq=False, kw_only=True)
class PreparedConfig(tfds.core.BuilderConfig):
    """Names a data set after its content."""

    source: Source


def named(builder: type, source: Source) -> type:
    """Returns a builder whose data lies in a folder of the source's kind."""
    return type(builder.__name__, (builder,), {"name": source.kind}, skip_registration=True)


def record_features(builder, source: Source, class_names: Sequence[str]) -> tfds.core.DatasetInfo:
    """Returns what TensorFlow Datasets stores about a source and its records."""
    features = {
        "id": tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=list(class_names)),
        **{modality: _feature(form) for modality, form in source.forms.items()},
    }
    return tfds.core.DatasetInfo(
        builder=builder,
        description=inspect.getdoc(source),
        citation=source.citation,
        features=tfds.features.FeaturesDict(features),
        # A summary comes in when all clips have been decoded, and is saved with the data.
        metadata=tfds.core.MetadataDict(
            kinds={modality: form.input_kind for modality, form in source.forms.items()}
        ),
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TFDS from reporting a download, a custom configuration and a bar for each split."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


def _feature(form):
    if form.dtype is None:
        # Encoded pictures: the Image feature needs TensorFlow, and decoding can wait until use.
        return tfds.features.Tensor(shape=form.shape, dtype=np.str_)
    return tfds.features.Tensor(shape=form.shape, dtype=form.dtype, encoding="bytes")
