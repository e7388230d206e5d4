"""TCMax for heads that add up over the modalities: exact, at a cost linear in the batch."""

from collections.abc import Mapping

import jax.numpy as jnp

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import count, logsumexp, to_float32
from tcmax_jax.losses.terms import Measure, TCMaxTerms, finish, keep_valid, log_label_prior


def additive_tcmax_loss(modality_logits, labels, *, label_prior=None, where=None, axis_name=None):
    """Exact TCMax loss of an additive head, F(z, y) = sum_m f_m(z_m)_y, in O(M B C).

    The mean over all B^M tuples factorises, since the modalities of a tuple are independent:

      loss_i = -sum_m f_m[i, y_i] + log sum_y q(y) prod_m (1/B) sum_j exp f_m[j, y]

    with f_m = modality_logits[m], y_i = labels[i] and q = label_prior (uniform: 1/C).
    -mean(loss) is a lower bound, in nats, of TC(z_1, .., z_M, y) + KL(p(y) || q).

    Args:
      modality_logits: the modalities' own parts of the logits, a mapping (or a sequence) of M >= 2
        arrays [B, C].
      labels: [B] integers in 0 .. C - 1.
      label_prior: [C] reference distribution of the label; uniform when None, and then softmax of
        the summed logits is p(y | z). With another one, prediction has to add log(label_prior).
      where: [B] bool, False for rows to leave out.
      axis_name: name of the mapped axis that holds the rest of the batch; C sums for each modality
        cross the devices.

    Returns:
      [B] float32 (or wider) losses in nats, 0 at masked rows; the caller takes the mean
      (`masked_mean`).

    Raises:
      ValueError, TypeError: shapes, dtypes or labels do not fit; see `tcmax_jax.losses.checks`.

    Source: TCMax (arXiv 2602.13015), the objective; the factorised form is worked out here.

    Example:
      >>> import jax.numpy as jnp
      >>> audio, visual = jnp.array([[2.0, 0.0], [0.0, 2.0]]), jnp.zeros((2, 2))
      >>> loss = additive_tcmax_loss({"audio": audio, "visual": visual}, jnp.array([0, 1]))
      >>> print(loss)
      [-0.5662191 -0.5662191]
    """
    return additive_terms(modality_logits, labels, Measure(label_prior, where, axis_name)).loss


def additive_terms(modality_logits, labels, over: Measure) -> TCMaxTerms:
    """Returns the loss of `additive_tcmax_loss` and its partition function."""
    label_prior, where, axis_name = over
    if not isinstance(modality_logits, Mapping):
        modality_logits = dict(enumerate(modality_logits))
    batch_size, num_classes = checks.check_modality_logits(modality_logits)
    checks.check_where(where, batch_size)
    checks.check_labels(labels, batch_size, num_classes, where)
    checks.check_label_prior(label_prior, num_classes)

    scores = jnp.stack([keep_valid(to_float32(f), where) for f in modality_logits.values()])
    negatives = scores if where is None else jnp.where(where[None, :, None], scores, -jnp.inf)
    log_prior = log_label_prior(label_prior, num_classes, scores.dtype)

    rows = count(where, batch_size, axis_name, scores.dtype)
    log_rows = jnp.log(rows)

    def log_sum_of_powers(power):
        """Returns the log of the sum over all tuples and classes of (q(y) exp F / B^M)^power."""
        by_modality = logsumexp(power * negatives, axis=1, axis_name=axis_name) - power * log_rows
        return logsumexp(jnp.sum(by_modality, axis=0) + power * log_prior)

    return finish(
        jnp.sum(scores, axis=0),
        labels,
        log_sum_of_powers(1),
        log_sum_of_powers(2),
        where,
        tuples=rows ** len(modality_logits),
    )
