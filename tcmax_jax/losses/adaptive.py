"""TCMax for any head, with as many sampled tuples as a target accuracy needs."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import all_gather, device_count, device_index, logsumexp
from tcmax_jax.losses.draws import draw_orders, tuples_of_all, tuples_within_classes
from tcmax_jax.losses.exhaustive import exhaustive_terms
from tcmax_jax.losses.sampled import score_tuples
from tcmax_jax.losses.streaming import stream_logsumexp
from tcmax_jax.losses.terms import Measure, TCMaxTerms, evaluate_head, finish, stream_sums

# Passes from which the spread between passes is first estimated.
_MIN_PASSES = 8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Adaptive:
    """Samples tuples until the log-partition of TCMax is estimated accurately enough.

      loss_i = -F(z_i, y_i) + log (p W + (1 - p) A)

    with p the share of tuples whose rows are all of one class, W and A the means within classes and
    across them of sum_y q(y) exp F(z_j, y), F = head. Both are estimated in passes that use each of
    the n rows of every modality once. Passes are added, first for W, then for A, until the standard
    error of the mean over K passes of P possible ones, sd(passes) sqrt(1/K - 1/P), is below its
    part of the target. Early in training all tuples weigh the same and the least number of passes
    (8 of each) does. Late in training nearly all the weight lies within the classes, where tuples
    are few. Value and gradient are computed together, pass by pass, in the memory of one pass. On
    mapped devices each one takes every D-th pass, and all stop together.

    Attributes:
      key: a PRNG key, the same on every device.
      target_error: standard error of the log-partition in nats at which to stop; it biases the loss
        by minus half its square. The default is far below the spread of the loss from batch to
        batch, and needs no tuning.
      max_negatives: most tuples to sample, over all devices (static), whatever the error. Where
        the batch has no more tuples than the least number of passes, all are taken.

    Source: an answer to the question that TCMax (arXiv 2602.13015) leaves open, how many negatives
    to sample; worked out here.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tcmax_jax.losses import tcmax_loss
      >>> z = {"audio": jnp.array([[1.0], [-1.0]]), "visual": jnp.array([[1.0], [-1.0]])}
      >>> gated = lambda z: jnp.concatenate([z["audio"] * z["visual"], -z["audio"]], axis=1)
      >>> print(tcmax_loss(gated, z, jnp.array([0, 0]), negatives=Adaptive(jax.random.key(0))))
      [-0.5662191 -0.5662191]
    """

    key: jax.Array
    target_error: float = dataclasses.field(default=0.05, metadata={"static": True})
    max_negatives: int = dataclasses.field(default=2**16, metadata={"static": True})

    def terms(self, head, features, labels, over: Measure) -> TCMaxTerms:
        """Returns the loss and its partition function."""
        checks.check_adaptive(self)
        scorer, logits, log_prior = evaluate_head(head, features, labels, over)
        _, where, axis_name = over
        devices, device = device_count(axis_name), device_index(axis_name)
        global_size = len(labels) * devices
        all_tuples = global_size ** len(features)
        if all_tuples <= min(self.max_negatives, 2 * _MIN_PASSES * global_size):
            return exhaustive_terms(head, features, labels, over)

        rows = all_gather(scorer.rows, axis_name)
        valid = None if where is None else all_gather(where, axis_name)
        orders = draw_orders(self.key, all_gather(labels, axis_name), len(rows), where=valid)
        n, dtype = orders.num_rows, logits.dtype
        share = orders.share_within(dtype)
        position = jnp.arange(global_size, dtype=jnp.int32)
        most_passes = min(-(-self.max_negatives // (2 * global_size)), all_tuples // global_size)
        most_blocks = -(-most_passes // devices)

        def estimate(draw, periods, is_enough):
            """Estimates the mean over a stratum; `is_enough(_Passes) -> bool` ends the passes."""

            def block_scores(block, rows):
                tuples, counts = draw(orders, (block * devices + device) * n + position % n)
                counts = jnp.where(position < n, counts, 0).astype(dtype)
                total = jnp.sum(counts)
                log_weights = jnp.log(counts / jnp.where(total > 0, total, 1))
                return score_tuples(scorer.score, rows, tuples, log_prior) + log_weights[:, None]

            def summary(pass_log_means, visited):
                log_means = all_gather(pass_log_means, axis_name)
                return _summarise(log_means, visited.astype(dtype) * devices, periods)

            def enough(pass_log_means, visited):
                passes = summary(pass_log_means, visited)
                return passes.is_complete | (passes.number >= _MIN_PASSES) & is_enough(passes)

            stream = stream_logsumexp(block_scores, most_blocks, rows, enough=enough)
            passes = summary(stream.block_log_sums, stream.visited)
            log_sum, log_squares = stream_sums(stream, axis_name)
            number = jnp.log(passes.number)
            return log_sum - number, log_squares - 2 * number, passes

        def part_across(passes):
            """Returns the part of the whole that is owed to the tuples across classes."""
            both = jnp.stack([log_shares[0] + log_within, log_shares[1] + passes.log_mean])
            return jnp.exp(both[1] - logsumexp(both))

        allowed = self.target_error / math.sqrt(2)
        log_shares = jnp.log(jnp.stack([share, 1 - share]))
        within_mean, within_squares, within_passes = estimate(
            tuples_within_classes,
            orders.pairings(dtype),
            lambda passes: passes.error <= allowed,
        )
        log_within = lax.stop_gradient(within_mean)
        across_mean, across_squares, across_passes = estimate(
            tuples_of_all,
            n.astype(dtype)[None] ** (len(rows) - 1),
            lambda passes: passes.error * part_across(passes) <= allowed,
        )
        part = part_across(across_passes)
        error = jnp.hypot(within_passes.error * (1 - part), across_passes.error * part)
        return finish(
            logits,
            labels,
            logsumexp(log_shares + jnp.stack([within_mean, across_mean])),
            logsumexp(2 * log_shares + jnp.stack([within_squares, across_squares])),
            where,
            tuples=(within_passes.number + across_passes.number) * n.astype(dtype),
            standard_error=error,
        )


class _Passes(NamedTuple):
    """Statistics of some passes over a stratum.

    Attributes:
      number: of passes made, at least 1.
      log_mean: log of the mean over them.
      error: standard error of `log_mean`, nats.
      is_complete: whether every row has met all its partners equally often.
    """

    number: jax.Array
    log_mean: jax.Array
    error: jax.Array
    is_complete: jax.Array


def _summarise(pass_log_means, number, periods) -> _Passes:
    """Summarises the passes made so far.

    A row that meets its P partners in turn has after K passes met r = K mod P of them once more
    than the others. That is a sample of r out of P, of weight r / K, so the mean over the passes
    has the variance of a single one times r (P - r) / (P K^2), which is 1/K - 1/P for K < P.

    Args:
      pass_log_means: log-means of all passes, -inf for those not made.
      number: K, the number of passes made.
      periods: [rows] P for each row; a row counts that much.
    """
    passes = jnp.maximum(number, 1)
    left = jnp.mod(number, jnp.maximum(periods, 1))
    factors = left * (periods - left) / passes**2  # r (P - r) / (P K^2), times P
    factor = jnp.sum(factors) / jnp.maximum(jnp.sum(periods), 1)
    log_mean = logsumexp(pass_log_means) - jnp.log(passes)
    ratios = jnp.exp(pass_log_means - jnp.where(jnp.isfinite(log_mean), log_mean, 0))
    spread = jnp.sum(jnp.where(ratios > 0, ratios - 1, 0) ** 2) / jnp.maximum(passes - 1, 1)
    return _Passes(passes, log_mean, jnp.sqrt(spread * factor), (factor <= 0) & (number > 0))
