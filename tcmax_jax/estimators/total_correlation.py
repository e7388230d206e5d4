"""Total correlation: its direct bound, and its ways through mutual information."""

import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax

from tcmax_jax.estimators.bounds import log_mean_exp, mean
from tcmax_jax.losses.collectives import logsumexp, to_float32


def tcne(joint, product, *, with_true=True, joint_weights=None, product_weights=None):
    """Direct lower bound of total correlation from one critic of all the variables.

      with_true:  mean_i [T_i - log (exp T_i + sum_n exp T_n) / (N + 1)]
      without:    mean_i T_i - log (1/N) sum_n exp T_n

    with T_i = joint[i] at the true tuples and T_n = product[n] at tuples in which each variable is
    shuffled on its own. With the true tuple among its own negatives the value never exceeds
    log(N + 1), since exp T_i is one of the N + 1 terms; for N negatives independent of example i it
    is a lower bound as an expectation (by symmetry exp T_i over the mean of N + 1 values has the
    expectation 1 if all come from q). Without, it is `donsker_varadhan`: no ceiling, and too high
    on average on a finite batch. Tuples recombined from the rows of one batch depend on each other,
    which matters as 1 / B.

    Arguments and returned nats as of `donsker_varadhan`; `with_true` says whether each true tuple
    is among its own negatives.

    Source: TCMax (arXiv 2602.13015), whose loss is this with a classifier as the critic.

    Example:
      >>> import jax.numpy as jnp
      >>> print(f"{tcne(jnp.array([50.0, 60.0]), jnp.zeros(7)):.3f} = log 8")
      2.079 = log 8
    """
    log_mean = log_mean_exp(product, product_weights)
    if not with_true:
        return mean(joint, joint_weights) - log_mean
    return tcne_of_log_mean(joint, log_mean, len(product), weights=joint_weights)


def tcne_of_log_mean(joint, log_mean, num_negatives, *, weights=None):
    """Returns `tcne` with the true tuples, `joint` [B], from the log-mean-exp of its negatives."""
    joint = to_float32(joint)
    log_sum = math.log(num_negatives) + log_mean
    return mean(joint - jnp.logaddexp(joint, log_sum), weights) + math.log(num_negatives + 1)


def shuffled_tuples(key, num_negatives, num_variables, batch_size, labels=None):
    """Draws row indices of tuples in which each variable comes from a different example.

    Args:
      key: a PRNG key.
      num_negatives: number N of tuples.
      num_variables: number M of variables.
      batch_size: number B of rows.
      labels: [B] integers in 0 .. B - 1, or None. With labels all rows of a tuple share one label,
        that of its first row: p(y) prod_m p(z_m | y) in place of prod_m p(z_m). They differ from
        the first row, where the label has a second one.

    Returns:
      [min(N, B (B - 1) .. (B - M + 1)), M] int32. Without labels no two rows of a tuple are the
      same: a tuple in which some variables still belong together is no example of prod_m p(z_m),
      and its high score would hold the estimate down. Every pass of B tuples uses each row of each
      variable once, and of two variables N = B (B - 1) gives each pair of rows once.
    """
    count = tuple_count(num_negatives, num_variables, batch_size)
    numbers = jnp.arange(count, dtype=jnp.int32)
    if labels is not None:
        return _tuples_within_labels(key, numbers, num_variables, labels)
    # The rows are in random order already, so it is enough to turn the variables against the first,
    # each by another amount from 1 to B - 1; the second by all of these in turn.
    passes = jnp.arange(-(-count // batch_size))
    order_key, offset_key = jax.random.split(key)
    order = jax.random.uniform(order_key, (len(passes), batch_size - 1))
    first = passes + jax.random.randint(offset_key, (), 0, batch_size - 1)
    order = order.at[passes, first % (batch_size - 1)].set(-1)
    turns = jnp.argsort(order)[:, : num_variables - 1] + 1
    turns = jnp.pad(turns, ((0, 0), (1, 0)))
    return (numbers[:, None] + turns[numbers // batch_size]) % batch_size


def tuple_count(num_negatives, num_variables, batch_size):
    """Returns how many tuples there are: N (all if None), but no more than of different rows."""
    most = math.perm(batch_size, num_variables)
    return most if num_negatives is None else min(num_negatives, most)


def tuple_weights(weights, tuples, labels=None):
    """Returns the weights that tuples get from weights of the examples, [N].

      w_n = prod_m w[j_nm]   (with labels: p(y) prod_m p(z_m | y), so each factor but the first is
                              divided by the mean weight of the rows with that label)

    Args:
      weights: [B] weights of the examples.
      tuples: [N, M] row indices.
      labels: [B] integers in 0 .. B - 1, or None.
    """
    product = jnp.prod(weights[tuples], axis=1)
    if labels is None:
        return product
    total = jnp.zeros_like(weights).at[labels].add(weights)
    rows = jnp.zeros_like(weights).at[labels].add(1)
    mean_weight = (total / jnp.maximum(rows, 1))[labels[tuples[:, 0]]]
    return product / mean_weight ** (tuples.shape[1] - 1)


def log_mean_exp_of_all(own, pairs, weights=None):
    """Log-mean-exp over all tuples of M different rows, for scores that add up over pairs.

      log mean_j exp(sum_m own[m, j_m] + sum_{m < m'} pairs[mm', j_m, j_m'])

    with j_1 .. j_M all different. exp of a sum over pairs is a product of [B, B] matrices, so that
    no exp is taken of the B^M scores, and for M = 4 no more than B^3 numbers are held. A factor of
    the last pair below 1e-30 of the largest one counts as that: the sum stays positive, and where
    it is too large the bound is the lower for it.

    Args:
      own: [M, B], the part of each variable alone.
      pairs: [M (M - 1) / 2, B, B], in the order of `itertools.combinations`.
      weights: [B] weights of the rows, a tuple has the product of those of its own; None for 1.

    Returns:
      A scalar in nats.
    """
    num_variables, batch_size = own.shape
    if weights is None:
        log_count = math.log(math.perm(batch_size, num_variables))
    else:
        log_weights = jnp.broadcast_to(jnp.log(weights), own.shape)
        own = own + log_weights
        log_count = _log_sum_of_all(log_weights, jnp.zeros_like(pairs))
    return _log_sum_of_all(own, pairs) - log_count


def line_splits(names):
    """Returns the pairs of groups (left, right) with TC = sum of I(left; right), one at a time.

      TC(x_1 .. x_M) = sum_i I(x_1 .. x_i; x_{i+1})

    Source: Bai et al., Estimating Total Correlation with Mutual Information Estimators, 2023.

    Example:
      >>> for left, right in line_splits(("a", "b", "c")):
      ...     print(*left, "|", *right)
      a | b
      a b | c
    """
    names = tuple(names)
    return [(names[:i], names[i : i + 1]) for i in range(1, len(names))]


def tree_splits(names):
    """Returns the pairs of groups (left, right) with TC = sum of I(left; right), half by half.

      TC(all) = TC(left half) + TC(right half) + I(left half; right half), and so on within the
      halves; the left one has the odd variable.

    Source: Bai et al., Estimating Total Correlation with Mutual Information Estimators, 2023.

    Example:
      >>> for left, right in tree_splits(("a", "b", "c", "d")):
      ...     print(*left, "|", *right)
      a | b
      c | d
      a b | c d
    """
    names = tuple(names)
    if len(names) < 2:
        return []
    half = math.ceil(len(names) / 2)
    left, right = names[:half], names[half:]
    return [*tree_splits(left), *tree_splits(right), (left, right)]


def _tuples_within_labels(key, numbers, num_variables, labels):
    batch_size = len(labels)
    first = numbers % batch_size
    by_label = jnp.argsort(labels)
    rows = jnp.zeros(batch_size, jnp.int32).at[labels].add(1)
    start = (jnp.cumsum(rows) - rows)[labels]
    rank = jnp.zeros(batch_size, jnp.int32).at[by_label].set(jnp.arange(batch_size)) - start
    count = rows[labels][first][:, None]
    # From 1 to count - 1 places further on, 0 in a class of one.
    uniform = jax.random.uniform(key, (len(numbers), num_variables - 1))
    further = jnp.minimum(1 + (uniform * (count - 1)).astype(jnp.int32), count - 1)
    others = start[first][:, None] + (rank[first][:, None] + further) % count
    return jnp.concatenate([first[:, None], by_label[others]], axis=1)


def _log_sum_of_all(own, pairs):
    """Returns the log-sum-exp that `log_mean_exp_of_all` is the mean of; same arguments."""
    numbers = range(len(own))
    between = dict(zip(itertools.combinations(numbers, 2), pairs, strict=True))
    same = jnp.eye(own.shape[1], dtype=bool)
    *leading, c, d = numbers
    # One line for each choice of the rows of the leading variables: the sum of all that they share,
    # and for each variable still to come its sums with them.
    chosen, reach = jnp.zeros(1, own.dtype), {m: own[m][None] for m in numbers}
    for m in leading:
        chosen = (chosen[:, None] + reach.pop(m)).reshape(-1)
        for later, sums in reach.items():
            step = jnp.where(same, -jnp.inf, between[m, later])
            spread = sums[:, None] + step[None]
            reach[later] = spread.reshape(-1, spread.shape[-1])
    # The last two meet in one matrix product, so that the B^M tuples are never held.
    (of_c, top_c), (of_d, top_d) = (_exp_below(reach[m], axis=1) for m in (c, d))
    of_both, top = _exp_below(between[c, d])
    of_both = jnp.where(same, 0, jnp.maximum(of_both, 1e-30))
    sums = jnp.sum((of_c @ of_both) * of_d, axis=1)
    return logsumexp(chosen + top_c[:, 0] + top_d[:, 0] + jnp.log(sums + 1e-37)) + top


def _exp_below(x, axis=None):
    """Returns (exp(x - top), top), top the largest entry; an axis that is given is kept."""
    top = lax.stop_gradient(jnp.max(x, axis=axis, keepdims=axis is not None))
    return jnp.exp(x - top), top
