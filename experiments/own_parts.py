"""One member of each family of your own: a stored form, an input, an encoder, a head, a method.

Nothing of the package is changed for them. Copy what you need into a recipe of yours:

    tcmax_jax --experiment=own_parts.py --config.data.manifest=list.csv

The data is a list `id,split,label,path` of text files with two columns of numbers, one a view. All
commands take the recipe with --experiment: config.json names these parts, but not their code.
Hardware: any. Nothing was measured with it.
"""

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tcmax_jax.data.forms import Content, Form
from tcmax_jax.data.inputs import Input
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.methods.base import Loss, MethodOptions, cross_entropy, follow, joint_logits
from tcmax_jax.models import HeadOptions, encoder_of
from tcmax_jax.models.fusion import AdditiveFusion, SumHead
from tcmax_jax.section import Count, CountOrZero, Fraction, Positive, section
from tcmax_jax.training.config import Comparison, Config, Modality, Model, Training
from tcmax_jax.training.optimizer import SGD


@section
class TextColumn(Form):
    """What is stored of an example: `length` numbers of a column of its text file."""

    kind: Literal["text_column"] = "text_column"
    column: CountOrZero = 0
    length: Count = 16
    dtype: ClassVar = np.float32
    input_kind: ClassVar = "window"
    shape = property(lambda self: (self.length,))

    def file(self, clip):
        """Returns the file."""
        return clip.video

    def read(self, clip):
        """Reads an example."""
        numbers = np.loadtxt(clip.video, dtype=np.float32, ndmin=2)[:, self.column]
        return Content(np.resize(numbers, self.length))


@section
class Window(Input):
    """What an encoder gets: `steps` of them, from a random place in training."""

    kind: Literal["window"] = "window"
    steps: Count = 12
    standardize: bool | None = None

    def __call__(self, stored, seed):
        """Cuts the window."""
        spare = len(stored) - self.steps
        start = spare // 2 if seed is None else np.random.default_rng(seed).integers(spare + 1)
        return stored[start : start + self.steps, None]

    def shape(self, form):
        """Returns the steps, and one channel."""
        return self.steps, 1


class Recurrent(nnx.Module):
    """An encoder in NNX (a Linen module would do as well); its steps are pooled."""

    def __init__(self, size: int = 8, dropout: float = 0.1, *, rngs: nnx.Rngs):
        self.cells = nnx.RNN(nnx.SimpleCell(1, size, rngs=rngs))
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x, train):
        """Maps [B, T, 1] to [B, T, size]."""
        return self.dropout(self.cells(x), deterministic=not train)


class TemperedHead(SumHead):
    """A head: the mean of one linear classifier a modality, at a temperature."""

    temperature: float = 1.0

    def modality_logits(self, features):
        """Returns each modality's part of the logits."""
        logits = super().modality_logits(features)
        return {m: z / (len(logits) * self.temperature) for m, z in logits.items()}


@section
class Tempered(HeadOptions):
    """The options of that head."""

    kind: Literal["tempered"] = "tempered"
    temperature: Positive = 0.5
    module: ClassVar = TemperedHead


@section
class Smoothed(MethodOptions):
    """A method: joint training on smoothed labels (Szegedy et al., CVPR 2016)."""

    kind: Literal["smoothed"] = "smoothed"
    smoothing: Fraction = 0.1
    heads: ClassVar = AdditiveFusion

    def make(self, modalities=(), label_prior=None):
        """Returns the method."""

        def loss(forward, state):
            logits = forward.head(forward.features)
            right = cross_entropy(logits, forward.labels)
            even = -jnp.mean(jax.nn.log_softmax(logits), axis=-1)
            mixed = (1 - self.smoothing) * right + self.smoothing * even
            return Loss(mixed, {"evenness": forward.mean(even)}, state)

        return follow(loss, joint_logits)


def config():
    """Returns the recipe."""
    stored = {"left": TextColumn(), "right": TextColumn(column=1)}
    encoder = encoder_of(Recurrent)
    return Config(
        name="own_parts",
        data=ManifestData(manifest="list.csv", stored=stored),
        modalities={m: Modality(input=Window(), encoder=encoder()) for m in stored},
        model=Model(fusion=Tempered()),
        method=Smoothed(),
        optimizer=SGD(learning_rate=0.1),
        training=Training(epochs=10, batch_size=16, eval_batch_size=16),
        comparison=Comparison(fusions=(Tempered(),)),
    )
