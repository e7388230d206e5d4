"""One entry to all forms of the TCMax loss."""

from tcmax_jax.losses import checks
from tcmax_jax.losses.adaptive import MAX_NEGATIVES, TARGET_ERROR, adaptive_terms
from tcmax_jax.losses.additive import additive_terms
from tcmax_jax.losses.exhaustive import exhaustive_terms
from tcmax_jax.losses.heads import AdditiveHead
from tcmax_jax.losses.sampled import sampled_terms
from tcmax_jax.losses.terms import TCMaxTerms


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
      head: an `AdditiveHead` (then the cost is O(M B C)), a `MultilinearHead` (each example is
        projected once), or any function {modality: [N, ...]} -> [N, C], called on all tuples.
      features: {modality: [B, ...]}, M >= 2 of them.
      labels: [B] integers in 0 .. C - 1.
      num_negatives: None visits all tuples exactly; a number samples that many
        (`sampled_tcmax_loss`); "adaptive" as many as a standard error of 0.05 nats takes
        (`adaptive_tcmax_loss`).
      key: a PRNG key, needed with `num_negatives` (and the same on every device).
      chunk_size: most tuples in one block of the exact form, chosen from the shapes when None.
      label_prior: [C] reference distribution of the label; uniform when None.
      where: [B] bool, False for rows to leave out.
      axis_name: name of the mapped axis that holds the rest of the batch.

    Returns:
      [B] float32 (or wider) losses in nats, 0 at masked rows; the caller takes the mean
      (`masked_mean`).

    Raises:
      ValueError: `num_negatives` without `key`, and what the forms refuse.

    Source: TCMax (arXiv 2602.13015).

    Example:
      >>> import jax.numpy as jnp
      >>> z = {"audio": jnp.array([[2.0, 0.0], [0.0, 2.0]]), "visual": jnp.zeros((2, 2))}
      >>> print(tcmax_loss(AdditiveHead(lambda z: z), z, jnp.array([0, 1])))
      [-0.5662191 -0.5662191]
    """
    return tcmax_terms(
        head,
        features,
        labels,
        num_negatives=num_negatives,
        key=key,
        chunk_size=chunk_size,
        label_prior=label_prior,
        where=where,
        axis_name=axis_name,
    ).loss


def tcmax_terms(
    head,
    features,
    labels,
    *,
    num_negatives=None,
    key=None,
    target_error=TARGET_ERROR,
    chunk_size=None,
    label_prior=None,
    where=None,
    axis_name=None,
) -> TCMaxTerms:
    """Returns the loss of `tcmax_loss` together with what is known of its partition function.

    For logs and studies: the effective sample size of the partition, the number of tuples visited
    and the standard error of the log-partition come at next to no cost beside the loss.

    Args:
      head: as in `tcmax_loss`, like all arguments.
      features: {modality: [B, ...]}.
      labels: [B] integers.
      num_negatives: None, a number, or "adaptive".
      key: a PRNG key, needed with `num_negatives`.
      target_error: standard error in nats at which "adaptive" stops.
      chunk_size: most tuples in one block of the exact form.
      label_prior: [C] or None.
      where: [B] bool or None.
      axis_name: name of the mapped axis over devices.

    Example:
      >>> import jax.numpy as jnp
      >>> z = {"audio": jnp.array([[2.0, 0.0], [0.0, 2.0]]), "visual": jnp.zeros((2, 2))}
      >>> terms = tcmax_terms(AdditiveHead(lambda z: z), z, jnp.array([0, 1]))
      >>> print(f"{terms.effective_sample_size:.3f} of {terms.tuples:.0f} tuples x 2 classes")
      5.063 of 4 tuples x 2 classes
    """
    shared = {"label_prior": label_prior, "where": where, "axis_name": axis_name}
    checks.check_num_negatives(num_negatives)
    if num_negatives is not None and key is None:
        raise ValueError(
            "Expected a PRNG key together with num_negatives, got None. Pass "
            "key=jax.random.fold_in(base_key, step), the same on every device."
        )
    match num_negatives:
        case "adaptive":
            return adaptive_terms(
                head,
                features,
                labels,
                key,
                target_error=target_error,
                max_negatives=MAX_NEGATIVES,
                **shared,
            )
        case None if isinstance(head, AdditiveHead):
            return additive_terms(head.modality_logits(features), labels, **shared)
        case None:
            return exhaustive_terms(head, features, labels, chunk_size=chunk_size, **shared)
        case _:
            return sampled_terms(
                head, features, labels, key, num_negatives, stratified=True, **shared
            )
