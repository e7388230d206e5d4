"""One entry to all forms of the TCMax loss."""

from tcmax_jax.losses.additive import additive_tcmax_loss
from tcmax_jax.losses.exhaustive import exhaustive_tcmax_loss
from tcmax_jax.losses.heads import AdditiveHead
from tcmax_jax.losses.sampled import sampled_tcmax_loss


def tcmax_loss(
    head,
    features,
    labels,
    *,
    num_negatives=None,
    key=None,
    chunk_size=None,
    label_prior=None,
    where=None,
    axis_name=None,
):
    """TCMax loss by the cheapest exact way the head allows, or sampled if a number is given.

      loss_i = -F(z_i, y_i) + log mean_{(j_1 .. j_M), y} exp F((z_1[j_1] .. z_M[j_M]), y)

    with F(z, y) = head(z)[y], z_m = features[m], y_i = labels[i]. -mean(loss) is a lower bound, in
    nats, of TC(z_1, .., z_M, y) + KL(p(y) || uniform).

    Args:
      head: an `AdditiveHead`, or any function {modality: [N, ...]} -> [N, C].
      features: {modality: [B, ...]}, M >= 2 of them.
      labels: [B] integers in 0 .. C - 1.
      num_negatives: number of tuples to sample; None visits all of them exactly.
      key: a PRNG key, needed with `num_negatives` (and the same on every device).
      chunk_size: most tuples in memory at a time, for exact non-additive heads.
      label_prior: [C] reference distribution of the label; uniform when None.
      where: [B] bool, False for rows to leave out.
      axis_name: name of the mapped axis that holds the rest of the batch.

    Returns:
      [B] float32 (or wider) losses in nats, 0 at masked rows; the caller takes the mean
      (`masked_mean`).

    Raises:
      ValueError: `num_negatives` without `key`, and what the three forms refuse.

    Source: TCMax (arXiv 2602.13015).

    Example:
      >>> import jax.numpy as jnp
      >>> z = {"audio": jnp.array([[2.0, 0.0], [0.0, 2.0]]), "visual": jnp.zeros((2, 2))}
      >>> print(tcmax_loss(AdditiveHead(lambda z: z), z, jnp.array([0, 1])))
      [-0.5662191 -0.5662191]
    """
    shared = {"label_prior": label_prior, "where": where, "axis_name": axis_name}
    if num_negatives is not None:
        if key is None:
            raise ValueError(
                "Expected a PRNG key together with num_negatives, got None. Pass "
                "key=jax.random.fold_in(base_key, step), the same on every device."
            )
        return sampled_tcmax_loss(head, features, labels, key, num_negatives, **shared)
    if isinstance(head, AdditiveHead):
        return additive_tcmax_loss(head.modality_logits(features), labels, **shared)
    return exhaustive_tcmax_loss(head, features, labels, chunk_size=chunk_size, **shared)
