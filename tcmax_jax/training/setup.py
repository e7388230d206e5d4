"""All parts of a run that its configuration describes, as plain data."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import optax

from tcmax_jax import methods
from tcmax_jax.data.datasets import Dataset
from tcmax_jax.data.inputs import Input
from tcmax_jax.models import MultimodalClassifier
from tcmax_jax.training.config import Config
from tcmax_jax.training.parallel import Parallel


class Epochs(NamedTuple):
    """Which epoch a step belongs to, both counted from 1.

    Attributes:
      number: of epochs in the run.
      steps: in an epoch.
    """

    number: int
    steps: int

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.number * self.steps

    def of(self, step: int) -> int:
        """Returns the epoch of a step."""
        return -(-step // self.steps)

    def begins(self, step: int) -> bool:
        """Returns whether a step is the first of its epoch."""
        return (step - 1) % self.steps == 0

    def ends(self, step: int) -> bool:
        """Returns whether a step is the last of its epoch."""
        return step % self.steps == 0


class Programs(NamedTuple):
    """The compiled functions of a run, each compiled at its first call.

    Attributes:
      initialise: (inputs {modality: [B, ...]}, PRNG key of the parameters) -> `TrainState` before
        the first step.
      step: (replicated state, batch, replicated key) -> (state, metrics), see `train_step`; it
        donates the state. The key is that of `tcmax_jax.training.step.training_key`.
      encode: (replicated state, inputs) -> features over the devices.
      apply: `model.apply` as it is called for the head.
      begin_epoch: that of the method; None without one.
    """

    initialise: Callable
    step: Callable
    encode: Callable
    apply: Callable
    begin_epoch: Callable | None


class Setup(NamedTuple):
    """All parts of a run, built before any training.

    Attributes:
      config: the configuration.
      dataset: the prepared data.
      inputs: {modality: function (stored value, seed or None) -> encoder's input}.
      model: the classifier.
      method: what is minimised, and how the result predicts.
      schedule: learning rate by step.
      optimizer: the update rule.
      parallel: the devices, and how steps are mapped over them.
      epochs: how long it trains.
      programs: what is compiled of all these; `tcmax_jax.training.programs.changed` makes them anew
        where a part is another.
    """

    config: Config
    dataset: Dataset
    inputs: Mapping[str, Input]
    model: MultimodalClassifier
    method: methods.Method
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation
    parallel: Parallel
    epochs: Epochs
    programs: Programs | None = None
