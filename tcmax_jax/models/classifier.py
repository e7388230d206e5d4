"""The classifier: an encoder for each modality, then a head, as two separate steps.

TCMax, OPM, AGM and MLA act between the two; TCMax combines features of different examples.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax.tree_util import Partial

from tcmax_jax.losses import AdditiveHead, MultilinearHead
from tcmax_jax.models.encoder import pooled
from tcmax_jax.series import Series


class MultimodalClassifier(nn.Module):
    """Joint logits from any set of modalities.

    Attributes:
      encoders: {modality: module}, each `(x, train) -> [B, D]`, or what else `pooled` takes.
      head: a module of `tcmax_jax.models.fusion`, or one with the same methods; one that has
        `modality_logits` counts as additive, one that has `project` as multilinear.
      scales: {modality: (mean, std)}, one number for each channel (the last axis) of the input,
        by which it is standardised; modalities that are not named stay as they are.
    """

    encoders: Mapping[str, nn.Module]
    head: nn.Module
    scales: Mapping[str, tuple] = dataclasses.field(default_factory=dict)

    def __call__(self, inputs, train: bool = False):
        """Returns the joint logits [B, C] of `inputs`, {modality: array}."""
        return self.fuse(self.encode(inputs, train))

    def encode(self, inputs, train: bool = False):
        """Encodes each modality independently.

        Args:
          inputs: {modality: [B, ...] or a `Series`} as the encoders read them, but for the scale.
          train: whether batch normalisation uses the batch's own statistics, and dropout drops.

        Returns:
          {modality: [B, D]} float32 features; outside training NaN for an example whose input is
          not finite, whatever the encoder makes of that.

        Raises:
          ValueError: a modality of the classifier is missing.
        """
        missing = sorted(set(self.encoders) - set(inputs))
        if missing:
            raise ValueError(
                f"Expected inputs for the modalities {sorted(self.encoders)}, got "
                f"{sorted(inputs)}: no {', '.join(missing)}."
            )
        features = {}
        for m, encoder in self.encoders.items():
            x = standardized(inputs[m], *self.scales[m]) if m in self.scales else inputs[m]
            features[m] = pooled(encoder(x, train))
            if not train:
                finite = finite_examples(inputs[m])[:, None]
                features[m] = jnp.where(finite, features[m], jnp.nan)
        return features

    def fuse(self, features):
        """Returns the joint logits [N, C] of `features`, {modality: [N, D]}."""
        return self.head(features)

    def modality_logits(self, features):
        """Returns each modality's part of the joint logits, {modality: [N, C]}."""
        return self.head.modality_logits(features)

    def unimodal_logits(self, features):
        """Returns the logits of the head's separate unimodal classifiers, {modality: [N, C]}."""
        return self.head.unimodal_logits(features)

    def project(self, features):
        """Returns the `tcmax_jax.losses.Projections` of a multilinear head."""
        return self.head.project(features)


def finite_examples(x):
    """Returns which examples of an input are finite, [B] bool.

    Args:
      x: [B, ...], or a `Series`, of which what fills it up does not count.
    """
    values, mask = x if isinstance(x, Series) else (x, None)
    finite = jnp.isfinite(values)
    if mask is not None:
        finite |= ~_of_steps(mask, finite.ndim)
    return finite.all(axis=tuple(range(1, finite.ndim)))


def broken_modality(inputs: Mapping, row: int) -> str | None:
    """Returns the first modality whose input of an example is not finite, None if all are."""
    return next((m for m, x in inputs.items() if not finite_examples(x)[row]), None)


def standardized(x, mean, std):
    """Returns (x - mean) / std by channel in float32; what fills up a series stays zero.

    Args:
      x: [..., channels], or a `Series` of such values.
      mean: one number for each channel.
      std: one number for each channel.
    """
    values = x.values if isinstance(x, Series) else x
    values = values.astype(jnp.float32)
    mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
    if values.ndim == 1 + isinstance(x, Series):  # a number an example, or a step
        mean, std = mean[0], std[0]
    values = (values - mean) / std
    if not isinstance(x, Series):
        return values
    return Series(jnp.where(_of_steps(x.mask, values.ndim), values, 0), x.mask)


class _Application(NamedTuple):
    """A function (params, features), equal for equal models and methods."""

    apply: Callable
    method: str

    def __call__(self, params, features):
        return self.apply({"params": params}, features, method=self.method)


def _of_steps(mask, ndim):
    """Returns the mask of a series, with axes of size 1 up to the rank of its values."""
    return mask.reshape(mask.shape + (1,) * (ndim - mask.ndim))


def head_of(model, params, apply=None):
    """Returns the classifier's head as a function of features, for the losses.

    Args:
      model: a `MultimodalClassifier`.
      params: its parameters.
      apply: what is called in place of `model.apply`, such as a compiled one.

    Returns:
      A `tcmax_jax.losses.AdditiveHead` if the head module has `modality_logits`, a
      `MultilinearHead` if it has `project`, otherwise a function {modality: [N, D]} -> [N, C].
      Each is a pytree of the parameters, so that what is compiled for one serves the next.
    """

    def function(method):
        return Partial(_Application(apply or model.apply, method), params)

    if hasattr(model.head, "modality_logits"):
        return AdditiveHead(function("modality_logits"))
    if hasattr(model.head, "project"):
        return MultilinearHead(function("project"))
    return function("fuse")
