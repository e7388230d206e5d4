"""The classifier: an encoder for each modality, then a head, two steps kept apart.

TCMax (and OPM, AGM, MLA) act between the two, on features of different examples.
"""

from collections.abc import Mapping

from flax import linen as nn

from tcmax_jax.losses import AdditiveHead, MultilinearHead


class MultimodalClassifier(nn.Module):
    """Joint logits from any set of modalities.

    Attributes:
      encoders: {modality: module}, each `(x, train) -> [B, D]`.
      head: a module of `tcmax_jax.models.fusion`, or one with the same methods; one that has
        `modality_logits` counts as additive, one that has `project` as multilinear.
    """

    encoders: Mapping[str, nn.Module]
    head: nn.Module

    def __call__(self, inputs, train: bool = False):
        """Returns the joint logits [B, C] of `inputs`, {modality: array}."""
        return self.fuse(self.encode(inputs, train))

    def encode(self, inputs, train: bool = False):
        """Encodes each modality on its own.

        Args:
          inputs: {modality: [B, ...]} as the encoders read them.
          train: whether batch normalisation uses the batch's own statistics.

        Returns:
          {modality: [B, D]} float32 features.

        Raises:
          ValueError: a modality of the classifier is missing.
        """
        missing = sorted(set(self.encoders) - set(inputs))
        if missing:
            raise ValueError(
                f"Expected inputs for the modalities {sorted(self.encoders)}, got "
                f"{sorted(inputs)}: no {', '.join(missing)}."
            )
        return {m: encoder(inputs[m], train) for m, encoder in self.encoders.items()}

    def fuse(self, features):
        """Returns the joint logits [N, C] of `features`, {modality: [N, D]}."""
        return self.head(features)

    def modality_logits(self, features):
        """Returns each modality's part of the joint logits, {modality: [N, C]}."""
        return self.head.modality_logits(features)

    def unimodal_logits(self, features):
        """Returns the logits of classifiers beside the joint head, {modality: [N, C]}."""
        return self.head.unimodal_logits(features)

    def project(self, features):
        """Returns the `tcmax_jax.losses.Projections` of a multilinear head."""
        return self.head.project(features)


def head_of(model, params):
    """Returns the classifier's head as a function of features, as the losses take it.

    Args:
      model: a `MultimodalClassifier`.
      params: its parameters.

    Returns:
      A `tcmax_jax.losses.AdditiveHead` if the head module has `modality_logits`, a
      `MultilinearHead` if it has `project`, otherwise a plain function
      {modality: [N, D]} -> [N, C].
    """

    def apply(method):
        return lambda features: model.apply({"params": params}, features, method=method)

    if hasattr(model.head, "modality_logits"):
        return AdditiveHead(apply("modality_logits"))
    if hasattr(model.head, "project"):
        return MultilinearHead(apply("project"))
    return apply("fuse")
