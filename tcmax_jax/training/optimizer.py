"""Optimisers and learning-rate schedules: their options, and what these make in optax."""

import dataclasses
import fnmatch
from collections.abc import Mapping
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import optax

from tcmax_jax.section import (
    Count,
    Family,
    Limits,
    NonNegative,
    Positive,
    section,
)
from tcmax_jax.step_bound import bound_decrease


@section
class Schedule(Family):
    """Base of all schedules.

    Attributes:
      warmup_epochs: epochs of linear warm-up from 0.
    """

    warmup_epochs: NonNegative = 0.0

    def make(self, peak: float, *, epochs: int, steps_per_epoch: int) -> optax.Schedule:
        """Returns the learning rate as a function of the step.

        Args:
          peak: the largest learning rate.
          epochs: epochs of the whole run.
          steps_per_epoch: steps in an epoch.
        """
        warmup = round(self.warmup_epochs * steps_per_epoch)
        main = self.after_warmup(peak, warmup, epochs, steps_per_epoch)
        if not warmup:
            return main
        return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup])

    def after_warmup(self, peak, warmup, epochs, steps_per_epoch) -> optax.Schedule:
        """Returns the learning rate as a function of the steps after the `warmup` first ones."""
        raise NotImplementedError


@section
class Constant(Schedule):
    """One learning rate for the whole run."""

    kind: Literal["constant"] = "constant"

    def after_warmup(self, peak, warmup, epochs, steps_per_epoch):
        """Returns the constant."""
        return optax.constant_schedule(peak)


@section
class Step(Schedule):
    """A learning rate that falls at some epochs.

    Attributes:
      decay_epochs: epochs after which it falls.
      decay_factor: the factor by which it does.
    """

    kind: Literal["step"] = "step"
    decay_epochs: Annotated[tuple[Count, ...], Limits(min_length=1)]
    decay_factor: Positive = 0.1

    def after_warmup(self, peak, warmup, epochs, steps_per_epoch):
        """Returns the steps; their epochs count from the start of the run."""
        drops = {epoch * steps_per_epoch - warmup: self.decay_factor for epoch in self.decay_epochs}
        return optax.piecewise_constant_schedule(peak, drops)


@section
class Cosine(Schedule):
    """A learning rate that falls to 0 at the end of the run, along a cosine."""

    kind: Literal["cosine"] = "cosine"

    def after_warmup(self, peak, warmup, epochs, steps_per_epoch):
        """Returns the cosine."""
        return optax.cosine_decay_schedule(peak, max(1, epochs * steps_per_epoch - warmup))


@section
class Optimizer(Family):
    """Base of all update rules.

    Attributes:
      learning_rate: its largest value.
      schedule: how it changes.
      weight_decay: of all parameters.
      clip_norm: largest global norm of the gradient; None leaves it as it is, as the paper does.
      factors: {pattern: factor of the learning rate} of parameters by their path, such as
        {"encoders_text/*": 0.1, "encoders_text/words/*": 0}; the last pattern that fits counts, and
        0 freezes. A * stands for any text.
    """

    learning_rate: Positive = 0.03
    schedule: Schedule = Constant()
    weight_decay: NonNegative = 0.0
    clip_norm: Positive | None = None
    factors: dict[str, NonNegative] = dataclasses.field(default_factory=dict)

    def rate(self, *, epochs: int, steps_per_epoch: int) -> optax.Schedule:
        """Returns the learning rate by step, see `Schedule.make`."""
        return self.schedule.make(
            self.learning_rate, epochs=epochs, steps_per_epoch=steps_per_epoch
        )

    def make(self, schedule: optax.Schedule) -> optax.GradientTransformationExtraArgs:
        """Returns the update rule, which may take the extra argument `gap`.

        Args:
          schedule: the learning rate by step.
        """
        norm = self.clip_norm
        clip = optax.identity() if norm is None else optax.clip_by_global_norm(norm)
        rules = [clip, *self.rules(schedule)]
        if self.factors:
            # Frozen parameters count in no norm, and weight decay does not move them.
            frozen = {pattern: float(factor > 0) for pattern, factor in self.factors.items()}
            rules = [scale_by_path(frozen), *rules, scale_by_path(self.factors)]
        return optax.with_extra_args_support(optax.chain(*rules))

    def check_factors(self, params) -> None:
        """Raises ValueError where a pattern of `factors` fits no parameter."""
        paths = [_path(keys) for keys, _ in jax.tree.leaves_with_path(params)]
        for pattern in self.factors:
            if not fnmatch.filter(paths, pattern):
                shown = ", ".join(dict.fromkeys("/".join(p.split("/")[:2]) for p in paths))
                raise ValueError(
                    f"Expected optimizer.factors to name parameters, got {pattern!r}, which fits "
                    f"none. They begin with {shown}. Add /* for all that follows a name."
                )

    def rules(self, schedule: optax.Schedule) -> list[optax.GradientTransformation]:
        """Returns the transformations after clipping, in order."""
        raise NotImplementedError


def scale_by_path(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Returns a transformation that multiplies updates by a factor for their parameter's path.

    Args:
      factors: {pattern: factor}; the last pattern that fits counts, and without one it is 1.
    """

    def factor(keys):
        fitting = [f for pattern, f in factors.items() if fnmatch.fnmatchcase(_path(keys), pattern)]
        return fitting[-1] if fitting else 1.0

    def update(updates, params=None):
        del params
        # Zero times a gradient that is not finite would not be zero.
        return jax.tree_util.tree_map_with_path(
            lambda keys, u: u * f if (f := factor(keys)) else jnp.zeros_like(u), updates
        )

    return optax.stateless(update)


def _path(keys) -> str:
    return "/".join(str(key.key) for key in keys)


@section
class SGD(Optimizer):
    """Stochastic gradient descent with momentum, in torch's order.

    The raw gradient is clipped, then weight_decay * parameter is added to it, then momentum
    m <- momentum m + g and the step -learning_rate m.

    Attributes:
      momentum: of the gradient.
      bound_decrease: whether steps are shortened that promise TCMax more than half of what its loss
        can still fall, see `tcmax_jax.step_bound.bound_decrease`. Other methods go without.
    """

    kind: Literal["sgd"] = "sgd"
    momentum: Annotated[float, Limits(ge=0, lt=1)] = 0.9
    bound_decrease: bool = True

    def rules(self, schedule):
        """Returns the step bound, weight decay and momentum."""
        return [
            bound_decrease(schedule, self.momentum) if self.bound_decrease else optax.identity(),
            optax.add_decayed_weights(self.weight_decay),
            optax.sgd(schedule, momentum=self.momentum),
        ]


@section
class AdamW(Optimizer):
    """Adam with decay of the parameters themselves."""

    kind: Literal["adamw"] = "adamw"

    def rules(self, schedule):
        """Returns the transformation."""
        return [optax.adamw(schedule, weight_decay=self.weight_decay)]
