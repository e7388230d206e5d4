"""TCMax for any head: an estimate from any number of sampled tuples."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import (
    all_gather,
    all_sum,
    device_count,
    device_index,
    logsumexp,
    to_float32,
)
from tcmax_jax.losses.draws import (
    draw_orders,
    independent_tuples,
    tuples_of_all,
    tuples_within_classes,
)
from tcmax_jax.losses.exhaustive import exhaustive_terms
from tcmax_jax.losses.terms import Measure, TCMaxTerms, evaluate_head, finish


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sampled:
    """Estimates the partition function of TCMax from N sampled tuples.

      loss_i = -F(z_i, y_i) + log (1/N) sum_n sum_y q(y) exp F((z_1[j_n1] .. z_M[j_nM]), y)

    with F(z, y) = head(z)[y], z_m = features[m], y_i = labels[i], q = label_prior (uniform: 1/C),
    and tuples j_n of the global batch's rows. Stratified draws take half of the tuples from those
    whose rows are all of one class, and weight the two kinds by how many such tuples there are. The
    mean inside the log is unbiased, so the loss lies below the exact one on average by about half
    the variance of its log, and tends to it with N. On mapped devices the N tuples are shared out.

    Attributes:
      number: N, the number of tuples (static); a choice of cost, not of the objective.
      key: a PRNG key, the same on every device.
      stratified: True samples tuples within a class and across classes apart, in passes that use
        all rows equally often, and from N = B^M on takes all tuples; False draws each tuple
        independently, as in the paper, with an error several times larger late in training.

    Source: TCMax (arXiv 2602.13015), the sampled objective; the stratified draws are added here.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tcmax_jax.losses import tcmax_loss
      >>> z = {"audio": jnp.array([[1.0], [-1.0]]), "visual": jnp.array([[1.0], [-1.0]])}
      >>> gated = lambda z: jnp.concatenate([z["audio"] * z["visual"], -z["audio"]], axis=1)
      >>> print(tcmax_loss(gated, z, jnp.array([0, 0]), negatives=Sampled(4, jax.random.key(0))))
      [-0.5662191 -0.5662191]
    """

    number: int = dataclasses.field(metadata={"static": True})
    key: jax.Array
    stratified: bool = dataclasses.field(default=True, metadata={"static": True})

    def terms(self, head, features, labels, over: Measure) -> TCMaxTerms:
        """Returns the loss and its partition function.

        The standard error takes the draws of a stratum as independent, which they are better than.
        """
        checks.check_sampled(self)
        scorer, logits, log_prior = evaluate_head(head, features, labels, over)
        number, (_, where, axis_name) = self.number, over
        global_size = len(labels) * device_count(axis_name)
        if self.stratified and number >= global_size ** len(features):
            return exhaustive_terms(head, features, labels, over)
        rows = all_gather(scorer.rows, axis_name)
        valid = None if where is None else all_gather(where, axis_name)

        share = -(-number // device_count(axis_name))
        numbers = device_index(axis_name) * share + jnp.arange(share, dtype=jnp.int32)
        if self.stratified:
            orders = draw_orders(self.key, all_gather(labels, axis_name), len(rows), where=valid)
            tuples, strata = _stratified(orders, numbers, number, logits.dtype)
        else:
            tuples = independent_tuples(self.key, number, len(rows), global_size, where=valid)
            tuples = tuples[jnp.minimum(numbers, number - 1)]
            strata = [_Stratum(1.0, (numbers < number).astype(logits.dtype))]

        log_weights = _log_weights(strata, axis_name)
        scores = score_tuples(scorer.score, rows, tuples, log_prior) + log_weights[:, None]
        log_partition = logsumexp(scores, axis_name=axis_name)
        log_squares = logsumexp(2 * scores, axis_name=axis_name)
        energies = logsumexp(scores, axis=1) - log_partition
        return finish(
            logits,
            labels,
            log_partition,
            log_squares,
            where,
            tuples=number,
            standard_error=_standard_error(energies, strata, axis_name),
        )


class _Stratum(NamedTuple):
    """Some of the draws, and the share of all tuples that they represent.

    Attributes:
      share: the share of all tuples that are of this kind.
      counts: [N], for how much a draw counts beside others of its kind; 0 for other kinds.
    """

    share: jax.Array | float
    counts: jax.Array


def _stratified(orders, numbers, num_negatives, dtype):
    """Returns (tuples, strata): half of the draws within classes, as far as possible; the rest."""
    share = orders.share_within(dtype)
    there_are = jnp.max(orders.pairings()) * orders.num_rows.astype(jnp.float32)
    num_within = jnp.minimum(there_are, num_negatives // 2).astype(jnp.int32)
    is_within = numbers < num_within
    within, pairings = tuples_within_classes(orders, numbers)
    others, across = tuples_of_all(orders, jnp.maximum(numbers - num_within, 0))
    is_across = ~is_within & (numbers < num_negatives)
    return jnp.where(is_within[:, None], within, others), [
        _Stratum(share, jnp.where(is_within, pairings, 0).astype(dtype)),
        _Stratum(1 - share, jnp.where(is_across, across, 0).astype(dtype)),
    ]


def _log_weights(strata, axis_name):
    """Returns [N] weights by which the sum over the draws is the mean over all tuples."""
    weights = 0
    for stratum in strata:
        total = all_sum(jnp.sum(stratum.counts), axis_name)
        weights += stratum.share * stratum.counts / jnp.where(total > 0, total, 1)
    # One, unless so few are drawn that a stratum goes without; the other then stands for all.
    total = all_sum(jnp.sum(weights), axis_name)
    return jnp.log(weights / jnp.where(total > 0, total, 1))


def _standard_error(energies, strata, axis_name):
    """Returns the standard error of the log of a sum of independent draws, nats.

    Args:
      energies: [N] logs of the draws' parts in that sum.
      strata: the kinds of draws.
      axis_name: name of the mapped axis over devices, or None.
    """
    variance = 0
    for stratum in strata:
        drawn = stratum.counts > 0
        parts = jnp.where(drawn, jnp.exp(energies), 0)
        number = all_sum(jnp.sum(drawn, dtype=parts.dtype), axis_name)
        mean = all_sum(jnp.sum(parts), axis_name) / jnp.maximum(number, 1)
        off = jnp.where(drawn, parts - mean, 0)
        variance += all_sum(jnp.sum(off**2), axis_name)
    return jnp.sqrt(variance)


def score_tuples(head, rows, tuples, log_prior):
    """Returns head(tuple) + log_prior for each index tuple, [N, C].

    Args:
      head: function {modality: pytree of [N, ...]} -> [N, C].
      rows: {modality: pytree of [B, ...]}.
      tuples: [N, M] row indices.
      log_prior: [C].
    """

    def score(indices):
        picked = {
            m: jax.tree.map(lambda x, i=i: x[i][None], rows[m])
            for m, i in zip(rows, indices, strict=True)
        }
        return to_float32(head(picked))[0] + log_prior

    return jax.vmap(score)(tuples)
