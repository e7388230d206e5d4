"""The section of the configuration that `--mode=estimate` reads, with its defaults."""

from typing import Annotated, Literal

from tcmax_jax.estimators.decompositions import NUM_NEGATIVES, estimator_names
from tcmax_jax.section import Count, CountOrZero, Limits, Positive, Section, section


@section
class Estimation(Section):
    """Which estimators to run on a file of samples, and how to fit them.

    Attributes:
      estimators: names, see `tcmax_jax.estimators.make_estimator`; of two variables a line and a
        tree are the same.
      critic: joint, separable or additive, see `tcmax_jax.estimators.critics`.
      hidden: units of the hidden layers of critics and conditional models.
      dim: number of terms of separable and additive critics.
      num_negatives: shuffled tuples of a batch for the direct estimators.
      steps: updates of each estimator.
      batch_size: examples in an update.
      learning_rate: of Adam.
      held_out: share of the examples that nothing is fitted on.
      eval_every: updates from one running estimate to the next.
      block_size: held-out examples compared with each other at a time; InfoNCE cannot exceed the
        log of it.
      seed: of the split, the parameters and the batches.
    """

    estimators: Annotated[tuple[Literal[estimator_names()], ...], Limits(min_length=1)] = (
        "tcne",
        "tcne_dv",
        "line_infonce",
        "line_nwj",
        "line_smile",
        "line_club",
    )
    critic: Literal["joint", "separable", "additive"] = "joint"
    hidden: Annotated[tuple[Count, ...], Limits(min_length=1)] = (64, 64)
    dim: Count = 32
    num_negatives: Count = NUM_NEGATIVES
    steps: Count = 2000
    batch_size: Annotated[int, Limits(ge=2)] = 128
    learning_rate: Positive = 1e-3
    held_out: Annotated[float, Limits(gt=0, lt=1)] = 0.4
    eval_every: Count = 100
    block_size: Annotated[int, Limits(ge=2)] = 512
    seed: CountOrZero = 0
