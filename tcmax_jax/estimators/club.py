"""CLUB, an upper bound of mutual information by a conditional model q(y | x), and such models.

A model has the interface of a critic (`tcmax_jax.estimators.critics`): `embed` maps examples to
what is computed once for each, `score` maps that to log q(y | x) for any pairs of examples.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from tcmax_jax.estimators.bounds import mean
from tcmax_jax.estimators.critics import MLP, Scorer

# Standard deviations between exp -4 and exp 4: past those one outlier decides the estimate.
_MAX_LOG_VARIANCE = 8.0
_PREDICTION = "prediction of "


def club(log_q, *, weights=None):
    """CLUB upper bound of I(x; y) from the log-likelihoods of all pairs of a batch.

      CLUB = E_p(x,y) log q(y | x) - E_p(x)p(y) log q(y | x)

    An upper bound only if q(y | x) = p(y | x), or near enough to it that the joint is better
    described than the product (KL(p(x,y) || q) <= KL(p(x)p(y) || q), with q = p(x) q(y | x)); with
    a poor q it may lie below I, even below 0. Fit q by maximum likelihood; to maximise CLUB itself
    would make q worse.

    Args:
      log_q: [B, B], log q(y_j | x_i).
      weights: [B] or None.

    Returns:
      A scalar in nats.

    Source: Cheng et al., CLUB: A Contrastive Log-ratio Upper Bound of Mutual Information, arXiv
    2006.12013.

    Example:
      >>> import jax.numpy as jnp
      >>> print(club(jnp.array([[-1.0, -3.0], [-3.0, -1.0]])))
      1.0
    """
    pairs = None if weights is None else weights[:, None] * weights
    return mean(jnp.diagonal(log_q), weights) - mean(log_q, pairs)


def club_sampled(joint, product, *, joint_weights=None, product_weights=None):
    """CLUB with one sampled negative for each example: `club` in expectation, with more variance.

      CLUBSample = mean_i [log q(y_i | x_i) - log q(y_k(i) | x_i)]

    Args:
      joint: [B], log q(y_i | x_i).
      product: [N], log q(y_k | x_i) of randomly combined pairs.
      joint_weights: [B] or None.
      product_weights: [N] or None.

    Returns:
      A scalar in nats.

    Source: Cheng et al., arXiv 2006.12013, section 3.3.
    """
    return mean(joint, joint_weights) - mean(product, product_weights)


def gaussian_log_likelihood(y, average, log_variance):
    """Returns log N(y; average, exp log_variance), diagonal, [...] in nats; arguments [..., D]."""
    squares = (y - average) ** 2 * jnp.exp(-log_variance)
    return -0.5 * jnp.sum(squares + log_variance + jnp.log(2 * jnp.pi), axis=-1)


def categorical_log_likelihood(one_hot, logits):
    """Returns log softmax(logits)[y], [...], of one-hot labels [..., C] and logits [..., C]."""
    return jnp.sum(one_hot * jax.nn.log_softmax(logits), axis=-1)


class Conditional(Scorer):
    """q(right | left): Gaussian for numbers, categorical for labels, one factor a variable.

      log q(right | left) = sum_{m in right} log q_m(x_m | left)

    A diagonal Gaussian, and variables of `right` independent given `left`: a correlation that is
    left between them makes q misfit p.

    Attributes:
      left: the variables that are given.
      right: the variables that are predicted.
      categorical: those of all variables that are one-hot labels.
      sizes: units of the hidden layers of each prediction.
      activation: function of an array.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    categorical: frozenset[str] = frozenset()
    sizes: Sequence[int] = (64, 64)
    activation: Callable = nn.relu

    @nn.compact
    def embed(self, samples: Mapping[str, jax.Array]):
        """Maps {variable: [B, D_m]} to the predictions, by `left` alone, beside `right` itself."""
        given = jnp.concatenate([samples[m] for m in self.left], axis=-1)
        embeddings = {m: samples[m] for m in self.right}
        for m in self.right:
            width = samples[m].shape[-1]
            outputs = width if m in self.categorical else 2 * width
            embeddings[_PREDICTION + m] = MLP((*self.sizes, outputs), self.activation)(given)
        return embeddings

    def score(self, embeddings):
        """Maps what `embed` returns to log q [...]; leading dimensions broadcast."""
        total = 0
        for m in self.right:
            y, prediction = embeddings[m], embeddings[_PREDICTION + m]
            if m in self.categorical:
                total += categorical_log_likelihood(y, prediction)
                continue
            average, raw = jnp.split(prediction, 2, axis=-1)
            log_variance = _MAX_LOG_VARIANCE * jnp.tanh(raw / _MAX_LOG_VARIANCE)
            total += gaussian_log_likelihood(y, average, log_variance)
        return total
