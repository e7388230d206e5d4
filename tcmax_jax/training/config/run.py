"""A whole run, and what its sections must not be together."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from tcmax_jax.methods import METHODS
from tcmax_jax.models.fusion import FUSIONS, PAIR_FUSIONS
from tcmax_jax.training.config.comparison import Comparison, Study
from tcmax_jax.training.config.data import ClipsData, Data, SyntheticData
from tcmax_jax.training.config.method import (
    InfoNCE,
    Method,
    TCMax,
    Unimodal,
    trainable_fusions,
)
from tcmax_jax.training.config.modality import (
    Frames,
    FrozenEncoder,
    MLPEncoder,
    Modality,
    Spectrogram,
    check_stored,
)
from tcmax_jax.training.config.section import section

# Heads that use the same parameters for all features.
_SHARING_FUSIONS = ("share_head", "cosine")


@section
class Model:
    """What the modalities share.

    Attributes:
      fusion: name of the head, see `tcmax_jax.models.fusion`.
      dtype: dtype of the encoders' computation; parameters stay float32.
      sync_batch_norm: whether batch statistics are taken over all devices.
    """

    fusion: Literal[tuple(FUSIONS)] = "concat"
    dtype: Literal["float32", "bfloat16"] = "float32"
    sync_batch_norm: bool = True


@section
class Optimizer:
    """The update rule.

    Attributes:
      name: sgd (with momentum, weight decay added to the gradient as in torch) or adamw.
      learning_rate: its largest value.
      schedule: constant; step (times `decay_factor` at each of `decay_epochs`); or cosine to 0.
      decay_epochs: epochs after which the step schedule decays.
      decay_factor: factor of the step schedule.
      warmup_epochs: epochs of linear warm-up from 0.
      momentum: of sgd.
      weight_decay: of all parameters, as in torch.
      clip_norm: largest global norm of the gradient; None leaves it as it is, as the paper does.
      bound_decrease: whether sgd shortens steps that promise TCMax more than half of what its loss
        can still fall; see `tcmax_jax.step_bound.bound_decrease`. Other methods and adamw
        go without.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    learning_rate: PositiveFloat = 0.03
    schedule: Literal["constant", "step", "cosine"] = "constant"
    decay_epochs: tuple[PositiveInt, ...] = ()
    decay_factor: PositiveFloat = 0.1
    warmup_epochs: NonNegativeFloat = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegativeFloat = 0.0
    clip_norm: PositiveFloat | None = None
    bound_decrease: bool = True


@section
class Training:
    """The loop.

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
      parallel: how steps are mapped over devices: pmap, or shard_map under jit; the numbers are the
        same.
      profile_steps: first and last step of a profile, written to the run's folder; None for none.
      probe: whether the final evaluation trains a linear classifier on each encoder's features of
        the training split, frozen.
      noise: strengths of the noise on each single modality under which the final evaluation
        predicts the last split as well, in standard deviations of an example's own input.
    """

    epochs: PositiveInt = 40
    batch_size: PositiveInt = 64
    accumulate: PositiveInt = 1
    eval_batch_size: PositiveInt = 256
    eval_every: PositiveInt = 1
    checkpoint_every: PositiveInt | None = None
    log_every: PositiveInt = 10
    threads: PositiveInt = 2
    workers: NonNegativeInt = 0
    parallel: Literal["pmap", "shard_map"] = "pmap"
    profile_steps: tuple[PositiveInt, PositiveInt] | None = None
    probe: bool = True
    noise: tuple[PositiveFloat, ...] = (0.5, 1.0, 2.0)


def _synthetic_modalities():
    centred = {"mean": (0.5,), "std": (0.25,)}
    return {
        "audio": Modality(input=Spectrogram(), encoder=MLPEncoder()),
        "visual": Modality(input=Frames(size=None), encoder=MLPEncoder(**centred)),
    }


@section
class Config:
    """A whole run; the defaults train TCMax on the built-in synthetic set.

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
    seed: NonNegativeInt = 0
    data: Data = SyntheticData()
    modalities: Annotated[dict[str, Modality], Field(min_length=2)] = Field(
        default_factory=_synthetic_modalities
    )
    model: Model = Model()
    method: Annotated[Method, Field(discriminator="name")] = TCMax()
    optimizer: Optimizer = Optimizer()
    training: Training = Training()
    comparison: Comparison = Comparison()
    study: Study = Study()

    @pydantic.model_validator(mode="after")
    def _check_combinations(self):
        fusion = self.model.fusion
        if fusion in PAIR_FUSIONS and len(self.modalities) != 2:
            raise ValueError(
                f"model.fusion={fusion} takes two modalities, got {list(self.modalities)}; "
                f"for more use one of {', '.join(sorted(set(FUSIONS) - set(PAIR_FUSIONS)))}"
            )
        self._check_method()
        if isinstance(self.data, ClipsData):
            for name, modality in self.modalities.items():
                check_stored(name, modality, self.data.stored)
        if self.optimizer.schedule == "step" and not self.optimizer.decay_epochs:
            raise ValueError("optimizer.schedule=step needs optimizer.decay_epochs, got none")
        return self

    def _check_method(self):
        method, fusion = self.method, self.model.fusion
        fusions = trainable_fusions(method)
        if fusion not in fusions:
            raise ValueError(
                f"method.name={method.name} cannot train model.fusion={fusion}; use one of "
                f"{', '.join(sorted(fusions))}"
            )
        if isinstance(method, Unimodal) and method.modality not in (None, *self.modalities):
            raise ValueError(
                f"method.modality is one of {', '.join(self.modalities)}, got {method.modality!r}"
            )
        frozen = [m for m, x in self.modalities.items() if isinstance(x.encoder, FrozenEncoder)]
        if frozen and METHODS[method.name].bends_encoders:
            raise ValueError(
                f"method.name={method.name} changes the gradients of encoders, and those of "
                f"{', '.join(frozen)} are frozen; choose another method, or encoder.kind=mlp"
            )
        sizes = {m: modality.encoder.feature_size for m, modality in self.modalities.items()}
        shares = isinstance(method, InfoNCE) or fusion in _SHARING_FUSIONS
        if shares and len(set(sizes.values())) > 1:
            raise ValueError(
                f"method.name={method.name} with model.fusion={fusion} needs features of one size, "
                f"got {sizes}; change the encoders' width or sizes"
            )
