"""Prediction heads: from the features of all modalities to logits.

A head is a Linen module with `__call__(features) -> [N, C]`. Additive heads also have
`modality_logits(features) -> {modality: [N, C]}`, the parts that sum to it; a shared bias is split
evenly among the modalities so that the sum holds exactly. Multilinear heads have `project(features)
-> Projections`, from which TCMax scores all tuples without calling the head on each. Heads work row
by row (no statistics over the batch), since TCMax combines the rows of different examples.

The last layer starts at zero: all classes are equally likely at the first step, and no tuple
dominates the log-partition of TCMax before the encoders have learnt anything.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from tcmax_jax.losses import MultilinearHead, Projections
from tcmax_jax.section import Family, Positive, section


def _linear(num_classes, name=None, use_bias=True):
    return nn.Dense(num_classes, use_bias, kernel_init=nn.initializers.zeros, name=name)


class Fusion(nn.Module):
    """Base of all heads.

    Attributes:
      modalities: names of the modalities, in the order in which the head reads them.
      num_classes: number of classes C.
    """

    modalities: Sequence[str]
    num_classes: int


@section
class HeadOptions(Family):
    """Base of the options of heads, and their interface.

    Attributes:
      module: the head.
      equal_features: whether the features of all modalities need one size.
    """

    module: ClassVar[type[Fusion]]
    equal_features: ClassVar[bool] = False

    def make(self, modalities: Sequence[str], num_classes: int) -> Fusion:
        """Returns the head.

        Raises:
          ValueError: it cannot take so many modalities.
        """
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)[1:]}
        return self.module(tuple(modalities), num_classes, **options)


class AdditiveFusion(Fusion):
    """Base of heads whose logits are a sum over modalities."""

    def __call__(self, features):
        """Returns the joint logits [N, C], the sum of the modalities' parts."""
        return sum(self.modality_logits(features).values())

    def modality_logits(self, features):
        """Returns each modality's part of the joint logits, {modality: [N, C]}."""
        raise NotImplementedError


class MultilinearFusion(Fusion):
    """Base of heads that are linear in a product of per-modality projections.

    See `tcmax_jax.losses.MultilinearHead`: TCMax projects each example once for them.
    """

    def __call__(self, features):
        """Returns the joint logits [N, C]."""
        return MultilinearHead(self.project)(features)

    def project(self, features):
        """Returns `tcmax_jax.losses.Projections` of the features."""
        raise NotImplementedError


class PairFusion(MultilinearFusion):
    """Base of heads in which the first modality modulates the second.

    Raises:
      ValueError: another number of modalities than two.
    """

    def __post_init__(self):
        if len(self.modalities) != 2:
            heads = HeadOptions.members().items()
            able = sorted(kind for kind, head in heads if not issubclass(head.module, PairFusion))
            raise ValueError(
                f"Expected two modalities for {type(self).__name__}, since the first acts on the "
                f"second, got {list(self.modalities)}. For more use one of {', '.join(able)}."
            )
        super().__post_init__()


class SumHead(AdditiveFusion):
    """F(z) = sum_m (W_m z_m + b_m): a linear classifier for each modality."""

    @nn.compact
    def modality_logits(self, features):
        """Returns W_m z_m + b_m, {modality: [N, C]}."""
        return {m: _linear(self.num_classes, m)(features[m]) for m in self.modalities}


@section
class Sum(HeadOptions):
    """A linear classifier for each modality, see `SumHead`."""

    kind: Literal["sum"] = "sum"
    module: ClassVar = SumHead


class ConcatHead(AdditiveFusion):
    """F(z) = W [z_1; ..; z_M] + b: one linear classifier on all features."""

    @nn.compact
    def modality_logits(self, features):
        """Returns W_m z_m + b / M, with W = [W_1 .. W_M], {modality: [N, C]}."""
        bias = self.param("bias", nn.initializers.zeros, (self.num_classes,))
        share = bias[None] / len(self.modalities)
        return {
            m: _linear(self.num_classes, m, use_bias=False)(features[m]) + share
            for m in self.modalities
        }


@section
class Concat(HeadOptions):
    """One linear classifier on all features, see `ConcatHead`."""

    kind: Literal["concat"] = "concat"
    module: ClassVar = ConcatHead


class SharedHead(AdditiveFusion):
    """F(z) = sum_m (W z_m + b): one classifier for all modalities, features of equal size."""

    @nn.compact
    def modality_logits(self, features):
        """Returns W z_m + b, {modality: [N, C]}."""
        shared = _linear(self.num_classes, "shared")
        return {m: shared(features[m]) for m in self.modalities}


@section
class Shared(HeadOptions):
    """One linear classifier for all modalities, see `SharedHead`."""

    kind: Literal["share_head"] = "share_head"
    module: ClassVar = SharedHead
    equal_features: ClassVar = True


class ConcatUnimodalHead(AdditiveFusion):
    """The concatenation head, with a separate unimodal classifier for each modality.

    The unimodal classifiers take no part in the joint logits; methods that balance their losses
    against the joint one (MMPareto) train them.
    """

    def setup(self):
        """Makes both kinds of classifiers."""
        self.joint = ConcatHead(self.modalities, self.num_classes)
        # Checkpoints know it by this name.
        self.own = SumHead(self.modalities, self.num_classes)

    def modality_logits(self, features):
        """Returns the parts of the joint logits, {modality: [N, C]}."""
        if self.is_initializing():
            self.unimodal_logits(features)
        return self.joint.modality_logits(features)

    def unimodal_logits(self, features):
        """Returns the logits of the unimodal classifiers, {modality: [N, C]}."""
        return self.own.modality_logits(features)


@section
class ConcatUnimodal(HeadOptions):
    """The concatenation head with unimodal classifiers, see `ConcatUnimodalHead`."""

    kind: Literal["concat_msh"] = "concat_msh"
    module: ClassVar = ConcatUnimodalHead


class CosineHead(AdditiveFusion):
    """F(z)_y = sum_m cos(z_m, w_y) / temperature, as in CLIP; features of equal size.

    The class embeddings w start random, not at zero, where a cosine has no direction.
    """

    temperature: float = 0.07

    @nn.compact
    def modality_logits(self, features):
        """Returns cos(z_m, w_y) / temperature, {modality: [N, C]}."""
        size = features[self.modalities[0]].shape[-1]
        w = self.param("classes", nn.initializers.normal(1.0), (self.num_classes, size))
        w = unit_length(w)
        return {m: unit_length(features[m]) @ w.T / self.temperature for m in self.modalities}


@section
class Cosine(HeadOptions):
    """Similarity with class embeddings, see `CosineHead`.

    Attributes:
      temperature: of the similarities, as in CLIP.
    """

    kind: Literal["cosine"] = "cosine"
    temperature: Positive = 0.07
    module: ClassVar = CosineHead
    equal_features: ClassVar = True


class LowRankHead(MultilinearFusion):
    """F(z) = W prod_m (V_m z_m + c_m) + b: low-rank tensor fusion (Liu et al., ACL 2018).

    The rank is the size of the smallest feature.
    """

    @nn.compact
    def project(self, features):
        """Returns the factors V_m z_m + c_m."""
        rank = min(features[m].shape[-1] for m in self.modalities)
        factors = {m: nn.Dense(rank, name=m)(features[m]) for m in self.modalities}
        return _ReadOut(self.num_classes, name="out")(factors)


@section
class LowRank(HeadOptions):
    """Low-rank tensor fusion, see `LowRankHead`."""

    kind: Literal["low_rank"] = "low_rank"
    module: ClassVar = LowRankHead


class FiLMHead(PairFusion):
    """F(z) = W (gamma(z_1) * z_2 + beta(z_1)) + b (Perez et al., AAAI 2018)."""

    @nn.compact
    def project(self, features):
        """Returns the factors gamma(z_1) and z_2, and the offset W beta(z_1) + b."""
        first, second = self.modalities
        size = features[second].shape[-1]
        gamma, beta = jnp.split(nn.Dense(2 * size, name="film")(features[first]), 2, axis=-1)
        out = _ReadOut(self.num_classes, name="out")
        factors, bias, kernel = out({first: gamma, second: features[second]})
        return Projections(factors, {first: beta @ kernel + bias[first]}, kernel)


@section
class FiLM(HeadOptions):
    """The first modality scales and shifts the second, see `FiLMHead`."""

    kind: Literal["film"] = "film"
    module: ClassVar = FiLMHead


class GatedHead(PairFusion):
    """F(z) = W (sigmoid(V_1 z_1) * V_2 z_2) + b, with biases in V (Kiela et al., AAAI 2018)."""

    @nn.compact
    def project(self, features):
        """Returns the factors sigmoid(V_1 z_1) and V_2 z_2."""
        return _Gate(self.modalities, self.num_classes, name="gate").project(features)


@section
class Gated(HeadOptions):
    """The first modality gates the second, see `GatedHead`."""

    kind: Literal["gated"] = "gated"
    module: ClassVar = GatedHead


class BigatedHead(PairFusion):
    """The sum of two gated heads, in which each modality gates the other."""

    @nn.compact
    def project(self, features):
        """Returns the factors of both gates, concatenated."""
        first, second = self.modalities
        forward = _Gate((first, second), self.num_classes, name="first_gates_second")
        backward = _Gate((second, first), self.num_classes, name="second_gates_first")
        one, other = forward.project(features), backward.project(features)
        return Projections(
            {m: jnp.concatenate([one.factors[m], other.factors[m]], 1) for m in self.modalities},
            {**one.modality_logits, **other.modality_logits},
            jnp.concatenate([one.kernel, other.kernel]),
        )


@section
class Bigated(HeadOptions):
    """Each modality gates the other, see `BigatedHead`."""

    kind: Literal["bigated"] = "bigated"
    module: ClassVar = BigatedHead


class _Gate(PairFusion):
    """W (sigmoid(V_1 z_1) * V_2 z_2) + b, the first modality gating the second."""

    @nn.compact
    def project(self, features):
        first, second = self.modalities
        size = features[second].shape[-1]
        factors = {
            first: nn.sigmoid(nn.Dense(size, name="gate")(features[first])),
            second: nn.Dense(size, name="value")(features[second]),
        }
        return _ReadOut(self.num_classes, name="out")(factors)


class _ReadOut(nn.Module):
    """A linear layer on the product of the factors, which the caller of `project` applies."""

    num_classes: int

    @nn.compact
    def __call__(self, factors):
        """Returns `Projections`, with the bias as a part of the first modality."""
        first = next(iter(factors))
        rows, size = factors[first].shape
        zeros = nn.initializers.zeros
        kernel = self.param("kernel", zeros, (size, self.num_classes))
        bias = self.param("bias", zeros, (self.num_classes,))
        return Projections(factors, {first: jnp.broadcast_to(bias, (rows, bias.size))}, kernel)


def unit_length(x):
    """Returns the rows of `x` divided by their Euclidean lengths."""
    # The small constant keeps the gradient finite at x = 0, where a relu feature may well be.
    return x * lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)
