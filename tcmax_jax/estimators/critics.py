"""Critics of any number of variables, in two steps: `embed` once an example, `score` once a tuple.

Every critic maps {variable: [..., D_m]} to scores [...]. `embed` treats each variable alone and
`score` joins what it returns, so that B examples recombined to N tuples (or B^2 pairs) are embedded
B times only. What `score` takes may have any leading dimensions that broadcast.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn


class MLP(nn.Module):
    """Dense layers with the activation after each but the last.

    Attributes:
      sizes: units of each layer.
      activation: function of an array.
    """

    sizes: Sequence[int]
    activation: Callable = nn.relu

    @nn.compact
    def __call__(self, x):
        """Maps [..., D] to [..., sizes[-1]]."""
        for size in self.sizes[:-1]:
            x = self.activation(nn.Dense(size)(x))
        return nn.Dense(self.sizes[-1])(x)


class Scorer(nn.Module):
    """What critics and conditional models have in common: examples are embedded, then scored."""

    def __call__(self, samples: Mapping[str, jax.Array]):
        """Maps {variable: [..., D_m]} to scores [...]."""
        return self.score(self.embed(samples))


class JointCritic(Scorer):
    """A multilayer perceptron on all variables side by side.

      T(x_1 .. x_M) = mlp([x_1 .. x_M])

    The most general critic and the dearest: all but its first layer is evaluated for each tuple.

    Attributes:
      names: the variables.
      sizes: units of its hidden layers.
      activation: function of an array.
    """

    names: tuple[str, ...]
    sizes: Sequence[int] = (64, 64)
    activation: Callable = nn.relu

    def setup(self):
        """Makes the layers; the first is a sum over variables, so it is part of `embed`."""
        self.first = {m: nn.Dense(self.sizes[0]) for m in self.names}
        self.rest = MLP((*self.sizes[1:], 1), self.activation)

    def embed(self, samples: Mapping[str, jax.Array]):
        """Maps {variable: [..., D_m]} to each variable's share of the first layer."""
        return {m: self.first[m](samples[m]) for m in self.names}

    def score(self, embeddings):
        """Maps what `embed` returns to scores [...]."""
        return self.rest(self.activation(sum(embeddings[m] for m in self.names)))[..., 0]


class SeparableCritic(Scorer):
    """A sum of products of functions of one variable each.

      T(x_1 .. x_M) = (1 / dim) sum_d prod_m p_m(x_m)_d

    Cheap for many tuples, and general: with enough terms it comes near any function.

    Attributes:
      names, activation: see `JointCritic`.
      sizes: units of the hidden layers of each p_m.
      dim: number of terms.
    """

    names: tuple[str, ...]
    sizes: Sequence[int] = (64, 64)
    dim: int = 32
    activation: Callable = nn.relu

    def setup(self):
        """Makes the layers."""
        self.factors = {m: MLP((*self.sizes, self.dim), self.activation) for m in self.names}

    def embed(self, samples: Mapping[str, jax.Array]):
        """Maps {variable: [..., D_m]} to {variable: [..., dim]}."""
        # Around 1, where a product of many factors has a slope in each; around 0 it has none.
        return {m: 1 + self.factors[m](samples[m]) for m in self.names}

    def score(self, embeddings):
        """Maps what `embed` returns to scores [...]."""
        return jnp.mean(math.prod(embeddings[m] for m in self.names), axis=-1)


class AdditiveCritic(Scorer):
    """A sum over variables and over pairs of variables, without terms of three or more.

      T(x_1 .. x_M) = sum_m f_m(x_m) + sum_{m <= m'} sum_d c_mm'd g_m(x_m)_d g_m'(x_m')_d

    with (f_m, g_m) a multilayer perceptron beside a linear map. The log ratio of Gaussians is of
    this form, and so is an additive classifier (x_M the label). What only three variables together
    show, such as XOR, it cannot see. (Terms of single variables alone would see nothing at all:
    log E_q of their exponential factorises, and the bound is at most 0.)

    Attributes:
      names, activation: see `JointCritic`.
      sizes: units of the hidden layers of each (f_m, g_m).
      dim: size of each g_m.
    """

    names: tuple[str, ...]
    sizes: Sequence[int] = (64, 64)
    dim: int = 32
    activation: Callable = nn.relu

    def setup(self):
        """Makes the layers; couplings start at 0, so that the first T has no interaction at all."""
        self.curved = {m: MLP((*self.sizes, self.dim + 1), self.activation) for m in self.names}
        self.linear = {m: nn.Dense(self.dim + 1, use_bias=False) for m in self.names}
        pairs = math.comb(len(self.names) + 1, 2)
        self.couplings = self.param("couplings", nn.initializers.zeros, (pairs, self.dim))

    def embed(self, samples: Mapping[str, jax.Array]):
        """Maps {variable: [..., D_m]} to {variable: [..., 1 + dim]}, f_m before g_m."""
        return {m: self.curved[m](samples[m]) + self.linear[m](samples[m]) for m in self.names}

    def score(self, embeddings):
        """Maps what `embed` returns to scores [...]."""
        own, pairs = self.terms(embeddings, lambda a, b, c: (a * b) @ c)
        return sum(own) + sum(pairs)

    def pair_scores(self, embeddings):
        """Maps embeddings [B, ..] to (own [M, B], pairs [M (M - 1) / 2, B, B]).

        A tuple of rows j has the score sum_m own[m, j_m] + sum_{m < m'} pairs[.., j_m, j_m'].
        """
        own, pairs = self.terms(embeddings, lambda a, b, c: (a * c) @ b.T)
        return jnp.stack(own), jnp.stack(pairs)

    def terms(self, embeddings, couple):
        """Returns (terms of one variable, terms `couple(g_m, g_m', c_mm')` of each combination)."""
        factors = [embeddings[m][..., 1:] for m in self.names]
        squares, products = jnp.split(self.couplings, [len(factors)])
        own = [
            embeddings[m][..., 0] + (g * g) @ c
            for m, g, c in zip(self.names, factors, squares, strict=True)
        ]
        pairs = itertools.combinations(factors, 2)
        return own, [couple(a, b, c) for (a, b), c in zip(pairs, products, strict=True)]
