"""Bounds of mutual information and total correlation: pure functions of critic values.

With T the critic, p the joint distribution and q the product of its marginals, every function here
compares `joint`, values of T at examples of p, with `product`, values of T at examples of q (pairs
or tuples whose parts come from different examples). KL(p || q) is the mutual information of two
variables and the total correlation of more. All values are in nats.

On a finite batch log E_q exp T is replaced by the log of a mean, which lies below it on average. So
`donsker_varadhan` and `smile` come out too high, by about half the variance of that log.

The weights of the examples, all 1 when None, are there for standard errors: the derivative of a
value in them is the influence of each example (`tcmax_jax.estimators.fit.evaluate`).
"""

import jax
import jax.numpy as jnp
from jax import lax

from tcmax_jax.losses.collectives import to_float32

MINE_RATE = 0.01
SMILE_CLIP = 5.0


def mean(values, weights=None):
    """Returns sum_i w_i values_i / sum_i w_i as a float32 (or wider) scalar."""
    values = to_float32(values)
    if weights is None:
        return jnp.mean(values)
    return jnp.sum(weights * values) / jnp.sum(weights)


def log_mean_exp(values, weights=None, axis=None):
    """Returns log (sum_i w_i exp values_i / sum_i w_i) over `axis`, finite for values of any size.

    Args:
      values: float array.
      weights: broadcast against `values`; all 1 when None.
      axis: axis to reduce, all of them by default.

    Example:
      >>> import jax.numpy as jnp
      >>> print(log_mean_exp(jnp.array([1e4, 1e4])))
      10000.0
    """
    values = to_float32(values)
    weights = jnp.ones_like(values) if weights is None else jnp.broadcast_to(weights, values.shape)
    largest = lax.stop_gradient(jnp.max(values, axis=axis, keepdims=True))
    total = jnp.sum(weights * jnp.exp(values - largest), axis=axis)
    return jnp.log(total / jnp.sum(weights, axis=axis)) + largest.reshape(total.shape)


def donsker_varadhan(joint, product, *, joint_weights=None, product_weights=None):
    """Donsker-Varadhan lower bound of KL(p || q).

      DV = E_p T - log E_q exp T

    A lower bound for any T as an expectation; on a finite batch too high on average (see above),
    and without a ceiling: beyond some log N nats N product values can no longer hold it down.

    Args:
      joint: [B] values of T at examples of p.
      product: [N] values of T at examples of q.
      joint_weights: [B] or None.
      product_weights: [N] or None.

    Returns:
      A scalar in nats.

    Source: Donsker and Varadhan, Asymptotic evaluation of certain Markov process expectations for
    large time, 1983.

    Example:
      >>> import jax.numpy as jnp
      >>> print(donsker_varadhan(jnp.array([1.0, 1.0]), jnp.array([0.0, 0.0])))
      1.0
    """
    return mean(joint, joint_weights) - log_mean_exp(product, product_weights)


def mine_objective(joint, product, log_average, *, rate=MINE_RATE):
    """MINE: an objective whose gradient is that of Donsker-Varadhan with a smoothed denominator.

      a' = (1 - rate) a + rate E_q exp T,   objective = E_p T - (E_q exp T) / a'

    with a' constant in the gradient, log a = log_average. The mini-batch gradient of DV divides by
    the batch's own E_q exp T and is biased; a moving average lessens that. Only the gradient is
    meant: the value to report is `donsker_varadhan`, which has no average to move.

    Args:
      joint: [B] values of T at examples of p.
      product: [N] values of T at examples of q.
      log_average: log of the moving average so far; 0 to begin with.
      rate: share of the present batch in the average.

    Returns:
      (objective to maximise, log of the new average).

    Source: Belghazi et al., Mutual Information Neural Estimation, arXiv 1801.04062, section 3.2.
    """
    log_mean = log_mean_exp(product)
    # In logs, since the average itself would overflow where T is large.
    log_average = jnp.logaddexp(jnp.log1p(-rate) + log_average, jnp.log(rate) + log_mean)
    log_average = lax.stop_gradient(log_average)
    return mean(joint) - jnp.exp(log_mean - log_average), log_average


def nwj(joint, product, *, joint_weights=None, product_weights=None):
    """Nguyen-Wainwright-Jordan lower bound of KL(p || q), also known as f-GAN KL and MINE-f.

      NWJ = E_p T - exp(-1) E_q exp T

    A lower bound for any T and unbiased on a batch of any size; its variance grows as exp KL(p||q).
    Without a logarithm around the mean it is -inf, by its definition, once some T at q exceeds the
    88 nats at which exp overflows in float32.

    Arguments and returned nats as of `donsker_varadhan`.

    Source: Nguyen, Wainwright and Jordan, Estimating divergence functionals and the likelihood
    ratio by convex risk minimization, 2010.
    """
    return mean(joint, joint_weights) - jnp.exp(log_mean_exp(product, product_weights) - 1)


def infonce(scores, *, weights=None):
    """InfoNCE lower bound of the mutual information of two variables.

      InfoNCE = mean_i [T_ii - log (1/B) sum_j exp T_ij]

    A lower bound as an expectation at any batch size, low in variance, and never above log B.

    Args:
      scores: [B, B], T(x_i, y_j); the pairs of the same example on the diagonal.
      weights: [B] or None.

    Returns:
      A scalar in nats.

    Source: van den Oord, Li and Vinyals, Representation Learning with Contrastive Predictive
    Coding, arXiv 1807.03748.

    Example:
      >>> import jax.numpy as jnp
      >>> print(f"{infonce(100 * jnp.eye(8)):.3f} = log 8")
      2.079 = log 8
    """
    return mean(jnp.diagonal(scores) - log_mean_exp(scores, weights, axis=1), weights)


def smile(joint, product, *, clip=SMILE_CLIP, joint_weights=None, product_weights=None):
    """SMILE estimate of KL(p || q): Donsker-Varadhan with a clipped denominator; not a bound.

      SMILE = E_p T - log E_q exp clip(T, -clip, clip)

    Clipping trades variance for bias, of either sign. The critic is not trained by this value but
    by `jensen_shannon`, whose optimum is the log ratio of p and q.

    Arguments and returned nats as of `donsker_varadhan`, which an infinite `clip` (in nats) gives.

    Source: Song and Ermon, Understanding the Limitations of Variational Mutual Information
    Estimators, arXiv 1910.06222.
    """
    clipped = jnp.clip(product, -clip, clip)
    return mean(joint, joint_weights) - log_mean_exp(clipped, product_weights)


def jensen_shannon(joint, product):
    """Objective that makes T the log ratio of p and q: classification of joint against product.

      JS = E_p log sigmoid(T) + E_q log sigmoid(-T)

    It bounds a Jensen-Shannon divergence, not KL(p || q), so it serves for training only: returns a
    scalar to maximise, from `joint` [B] and `product` [N] as of `donsker_varadhan`.

    Source: Hjelm et al., Deep InfoMax, arXiv 1808.06670.
    """
    return mean(jax.nn.log_sigmoid(joint)) + mean(jax.nn.log_sigmoid(-product))


def js_nwj(joint, product, *, joint_weights=None, product_weights=None):
    """NWJ lower bound at T + 1, for a critic that `jensen_shannon` has trained.

      JS-NWJ = 1 + E_p T - E_q exp T

    The optimal T of NWJ is one above the log ratio that `jensen_shannon` finds. Training is stable,
    and the value a lower bound with all the variance (and overflow) of `nwj`.

    Arguments and returned nats as of `donsker_varadhan`.

    Source: Poole et al., On Variational Bounds of Mutual Information, arXiv 1905.06922, appendix.
    """
    joint, product = to_float32(joint) + 1, to_float32(product) + 1
    return nwj(joint, product, joint_weights=joint_weights, product_weights=product_weights)


def off_diagonal(matrix):
    """Returns the B (B - 1) entries of a [B, B] matrix that are not on its diagonal.

    Example:
      >>> import jax.numpy as jnp
      >>> print(off_diagonal(jnp.arange(4).reshape(2, 2)))
      [1 2]
    """
    size = len(matrix)
    # Without its first entry the flat matrix has the diagonal at the end of each line of B + 1.
    return matrix.reshape(-1)[1:].reshape(size - 1, size + 1)[:, :-1].reshape(-1)
