"""The section `method` of a configuration: one class for each method, with its own options.

Defaults are those of the functions in `tcmax_jax.methods`, which say where they come from.
"""

import dataclasses
from typing import Annotated, Literal

import pydantic
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from tcmax_jax.methods import METHODS
from tcmax_jax.methods.options import check_window
from tcmax_jax.models.fusion import ADDITIVE_FUSIONS
from tcmax_jax.training.config.section import Fraction, section


def _check_window(method):
    check_window(method.first_epoch, method.last_epoch)
    return method


@section
class TCMax:
    """Total correlation maximisation, `tcmax_jax.methods.tcmax`.

    Attributes:
      name: names the method.
      num_negatives: tuples to sample; None takes all of them, "adaptive" as many as a standard
        error of 0.05 nats of the log-partition takes.
      label_prior: reference measure of the label; with "empirical" the bound is on the total
        correlation itself and prediction adds the log of the class frequencies.
    """

    name: Literal["tcmax"] = "tcmax"
    num_negatives: PositiveInt | Literal["adaptive"] | None = None
    label_prior: Literal["uniform", "empirical"] = "uniform"


@section
class Joint:
    """Cross-entropy of the fused logits, `tcmax_jax.methods.joint`.

    Attributes:
      name: names the method.
    """

    name: Literal["joint"] = "joint"


@section
class Unimodal:
    """Each modality on its own, `tcmax_jax.methods.unimodal`.

    Attributes:
      name: names the method.
      modality: the only one to train; None for all of them, an ensemble.
    """

    name: Literal["unimodal"] = "unimodal"
    modality: str | None = None


@section
class InfoNCE:
    """Joint training with contrastive alignment, `tcmax_jax.methods.infonce`.

    Attributes:
      name: names the method.
      weight: of the alignment.
      temperature: of the cosine similarities.
    """

    name: Literal["infonce"] = "infonce"
    weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 0.07


@section
class OGM:
    """Gradient modulation, `tcmax_jax.methods.ogm`, with noise as `ogm_ge`.

    Attributes:
      name: names the method.
      alpha: strength.
      first_epoch: first epoch of the window, from 0.
      last_epoch: its last epoch.
      reach: kernels alone, or all parameters of the encoders.
    """

    name: Literal["ogm", "ogm_ge"] = "ogm"
    alpha: PositiveFloat = 0.8
    first_epoch: NonNegativeInt = 0
    last_epoch: NonNegativeInt = 50
    reach: Literal["kernels", "all"] = "kernels"

    _window = pydantic.model_validator(mode="after")(_check_window)


@section
class OPM:
    """Prediction modulation, `tcmax_jax.methods.opm`.

    Attributes:
      name: names the method.
      base: probability of a drop at the threshold.
      strength: of its growth.
      apply_probability: share of the batches in which features are dropped.
      warmup_epochs: epochs without.
      probabilities: growth from the threshold on (excess), or with a jump there (ratio).
    """

    name: Literal["opm"] = "opm"
    base: Fraction = 0.5
    strength: NonNegativeFloat = 0.5
    apply_probability: Fraction = 0.7
    warmup_epochs: NonNegativeInt = 6
    probabilities: Literal["excess", "ratio"] = "excess"


@section
class AGM:
    """Adaptive gradient modulation, `tcmax_jax.methods.agm`.

    Attributes:
      name: names the method.
      alpha: strength.
      response: Shapley values of any head, or the parts of an additive one.
      first_epoch: first epoch of the window, from 0.
      last_epoch: its last epoch.
      clip: threshold and norm of the clipping; None for none.
    """

    name: Literal["agm"] = "agm"
    alpha: PositiveFloat = 1.0
    response: Literal["shapley", "split"] = "shapley"
    first_epoch: NonNegativeInt = 0
    last_epoch: NonNegativeInt = 20
    clip: PositiveFloat | None = 1.0

    _window = pydantic.model_validator(mode="after")(_check_window)


@section
class QMF:
    """Quality-aware fusion, `tcmax_jax.methods.qmf`.

    Attributes:
      name: names the method.
      rank_weight: weight of the ranking of confidences.
    """

    name: Literal["qmf"] = "qmf"
    rank_weight: NonNegativeFloat = 1.0


@section
class PMR:
    """Prototypical rebalance, `tcmax_jax.methods.pmr`.

    Attributes:
      name: names the method.
      alpha: weight of the prototype losses.
      momentum: of the prototypes.
      weights: as in the paper (clip) or in the official code (binary).
      entropy_weight: mu of PER.
      entropy_epochs: epochs with PER.
      first_epoch: first epoch of the prototype losses, from 0.
      last_epoch: their last epoch.
      share: of the training examples that make the prototypes.
    """

    name: Literal["pmr"] = "pmr"
    alpha: NonNegativeFloat = 1.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.2
    weights: Literal["clip", "binary"] = "clip"
    entropy_weight: NonNegativeFloat = 0.0
    entropy_epochs: NonNegativeInt = 0
    first_epoch: NonNegativeInt = 0
    last_epoch: NonNegativeInt = 100
    share: Annotated[float, Field(gt=0, le=1)] = 0.1

    _window = pydantic.model_validator(mode="after")(_check_window)


@section
class MLA:
    """Alternating adaptation, `tcmax_jax.methods.mla`.

    Attributes:
      name: names the method.
      projection: of the shared head's gradient, off as in published results, or owm.
    """

    name: Literal["mla"] = "mla"
    projection: Literal["off", "owm"] = "off"


@section
class MMPareto:
    """Pareto-integrated gradients, `tcmax_jax.methods.mmpareto`.

    Attributes:
      name: names the method.
      gamma: final scale of the encoders' gradients.
    """

    name: Literal["mmpareto"] = "mmpareto"
    gamma: PositiveFloat = 1.5


Method = TCMax | Joint | Unimodal | InfoNCE | OGM | OPM | AGM | QMF | PMR | MLA | MMPareto
ALL_METHODS = (
    Joint(),
    Unimodal(),
    TCMax(),
    InfoNCE(),
    OGM(),
    OGM(name="ogm_ge"),
    OPM(),
    AGM(),
    QMF(),
    PMR(),
    MLA(),
    MMPareto(),
)


def label(method: Method) -> str:
    """Returns a method's name with those options that are not the defaults: mla-projection=owm.

    It depends on nothing but the method itself, so that its runs keep their names whatever they are
    compared with, and two methods have the same one only if they are the same.
    """
    _, *options = dataclasses.fields(method)
    changed = [f.name for f in options if getattr(method, f.name) != f.default]
    return "-".join([method.name, *(f"{name}={getattr(method, name)}" for name in changed)])


def trainable_fusions(method: Method) -> tuple[str, ...]:
    """Returns the names of the heads that a method can train with its options."""
    if isinstance(method, AGM) and method.response == "split":
        return tuple(ADDITIVE_FUSIONS)
    return METHODS[method.name].fusions
