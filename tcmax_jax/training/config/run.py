"""The configuration of a run, and the combinations of sections that are refused."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

from tcmax_jax.data.inputs import FramesInput, Input, SpectrogramInput
from tcmax_jax.data.sources import Source
from tcmax_jax.data.sources.synthetic import SyntheticData
from tcmax_jax.methods import MethodOptions, TCMax, Unimodal
from tcmax_jax.models import EncoderOptions, FrozenEncoder, HeadOptions, MLPEncoder
from tcmax_jax.models.fusion import Concat
from tcmax_jax.section import (
    Count,
    CountOrZero,
    Limits,
    Positive,
    Section,
    SectionError,
    Seed,
    section,
)
from tcmax_jax.training.config.comparison import Comparison, Study
from tcmax_jax.training.optimizer import SGD, Optimizer

# What stands beside modalities in records and results.
_TAKEN = ("fused", "recalibrated", "label")


@section
class Modality(Section):
    """How to read and encode one modality.

    Attributes:
      input: from the stored record to the encoder's input.
      encoder: from that input to a feature.
    """

    input: Input
    encoder: EncoderOptions


@section
class Model(Section):
    """Options that the modalities share.

    Attributes:
      fusion: the head.
      dtype: dtype of the encoders' computation; parameters stay float32.
      sync_batch_norm: whether batch statistics are taken over all devices.
    """

    fusion: HeadOptions = Concat()
    dtype: Literal["float32", "bfloat16"] = "float32"
    sync_batch_norm: bool = True


@section
class Training(Section):
    """Options of the training loop.

    Attributes:
      epochs: passes over the training set.
      batch_size: examples in a step, over all devices.
      accumulate: parts in which each device encodes its share of a batch one after the other, to
        save memory; negatives come from the whole batch all the same.
      eval_batch_size: the same in evaluation.
      eval_every: epochs between validations; each one saves a checkpoint.
      checkpoint_every: steps between further checkpoints; None for no others.
      log_every: steps between two entries of the log.
      threads: threads that read and decode, in the main process.
      workers: processes that do so instead for training; 0 for none.
      held_mib: most MiB of each split that are kept decoded in memory, instead of being read and
        decoded in each epoch; 0 for none. A larger split is read as it is stored.
      parallel: how steps are mapped over devices: pmap, or shard_map under jit; the numbers are the
        same.
      profile_steps: first and last step of a profile, written to the run's folder; None for none.
      probe: whether the final evaluation trains a linear classifier on each encoder's features of
        the training split, frozen.
      noise: strengths of the noise on each single modality under which the final evaluation
        predicts the last split as well, in standard deviations of an example's own input.
    """

    epochs: Annotated[int, Limits(gt=0, lt=2**31)] = 40
    batch_size: Count = 64
    accumulate: Count = 1
    eval_batch_size: Count = 256
    eval_every: Count = 1
    checkpoint_every: Count | None = None
    log_every: Count = 10
    threads: Count = 2
    workers: CountOrZero = 0
    held_mib: CountOrZero = 1024
    parallel: Literal["pmap", "shard_map"] = "pmap"
    profile_steps: tuple[Count, Count] | None = None
    probe: bool = True
    noise: tuple[Positive, ...] = (0.5, 1.0, 2.0)

    def check(self):
        """Raises SectionError where a profile would end before it starts."""
        first, last = self.profile_steps or (1, 1)
        if first > last:
            raise SectionError(
                f"Expected profile_steps [first, last], got [{first}, {last}]; exchange them"
            )


def _synthetic_modalities():
    centred = {"mean": (0.5,), "std": (0.25,)}
    return {
        "audio": Modality(input=SpectrogramInput(standardize=False), encoder=MLPEncoder()),
        "visual": Modality(input=FramesInput(size=None), encoder=MLPEncoder(**centred)),
    }


@section
class Config(Section):
    """The configuration of a run; the defaults train TCMax on the built-in synthetic set.

    Attributes:
      name: name of the experiment.
      seed: seed of the parameters, the order of the data and all random choices of training.
      data: the data set.
      modalities: {name: how it is read and encoded}, two or more.
      model: what the modalities share.
      method: what is minimised.
      optimizer: how.
      training: for how long, and in what portions.
      comparison: what --mode=compare trains in place of `method`, `model.fusion` and `seed`.
      study: the field that --mode=study changes from comparison to comparison.
    """

    name: str = "synthetic"
    seed: Seed = 0
    data: Source = SyntheticData()
    modalities: Annotated[dict[str, Modality], Limits(min_length=2)] = dataclasses.field(
        default_factory=_synthetic_modalities
    )
    model: Model = Model()
    method: MethodOptions = TCMax()
    optimizer: Optimizer = SGD()
    training: Training = Training()
    comparison: Comparison = Comparison()
    study: Study = Study()

    @property
    def inputs(self) -> dict[str, Input]:
        """{modality: function (stored value, seed or None) -> encoder's input}."""
        forms = self.data.forms
        return {
            name: modality.input.fitted(forms[name]) for name, modality in self.modalities.items()
        }

    def check(self):
        """Raises SectionError where sections do not fit together."""
        forms = self.data.forms
        for name, modality in self.modalities.items():
            _check_modality(name, modality, forms)
        try:
            head = self.model.fusion.make(tuple(self.modalities), num_classes=2)
        except ValueError as error:
            raise SectionError(f"model.fusion={self.model.fusion.kind}: {error}") from error
        self._check_method(head)

    def _check_method(self, head):
        method, fusion = self.method, self.model.fusion
        if not isinstance(head, method.heads):
            raise SectionError(
                f"method.kind={method.kind} cannot train model.fusion={fusion.kind}; use one of "
                f"{', '.join(sorted(trainable_heads(method)))}"
            )
        if isinstance(method, Unimodal) and method.modality not in (None, *self.modalities):
            raise SectionError(
                f"method.modality is one of {', '.join(self.modalities)}, got {method.modality!r}"
            )
        frozen = [m for m, x in self.modalities.items() if isinstance(x.encoder, FrozenEncoder)]
        if frozen and method.changes_encoder_gradients:
            raise SectionError(
                f"method.kind={method.kind} changes the gradients of encoders, and those of "
                f"{', '.join(frozen)} are frozen; choose another method, or encoder.kind=mlp"
            )
        sizes = {m: modality.encoder.feature_size for m, modality in self.modalities.items()}
        self.check_sizes({m: size for m, size in sizes.items() if size is not None})

    def check_sizes(self, sizes: Mapping[str, int]) -> None:
        """Raises SectionError where {modality: D} have to be equal and are not."""
        method, fusion = self.method, self.model.fusion
        if (method.equal_features or fusion.equal_features) and len(set(sizes.values())) > 1:
            raise SectionError(
                f"method.kind={method.kind} with model.fusion={fusion.kind} needs features of one "
                f"size, got {dict(sizes)}; change the encoders' width or sizes"
            )


def trainable_heads(method: MethodOptions) -> list[str]:
    """Returns the kinds of the heads that a method can train with its options."""
    return [k for k, x in HeadOptions.members().items() if issubclass(x.module, method.heads)]


def _check_modality(name, modality, forms):
    """Checks name, input and encoder of a modality against the stored forms."""
    if name in _TAKEN or "+" in name:
        raise SectionError(
            f"modalities.{name}: Expected a name without + and none of {', '.join(_TAKEN)}, which "
            "records and results use themselves; rename the modality"
        )
    if name not in forms:
        raise SectionError(
            f"modalities.{name} is not in the data, which stores {', '.join(forms)}; correct the "
            f"name, or have data.stored.{name} where the data is clips"
        )
    form = forms[name]
    if form.shape is None:
        return  # Files say it; this is checked again when they are open.
    if form.input_kind not in (None, modality.input.kind):
        raise SectionError(
            f"modalities.{name}.input.kind is {form.input_kind}, which reads what the data stores "
            f"of {name}, got {modality.input.kind}"
        )
    for part, check in (
        ("input", lambda: modality.input.shape(form)),
        ("encoder", lambda: modality.encoder.check_input(modality.input.shape(form))),
    ):
        try:
            check()
        except SectionError as error:
            raise SectionError(f"modalities.{name}.{part}: {error}") from error
