"""The entry to all forms of the TCMax loss."""

import warnings

from tcmax_jax.losses.adaptive import Adaptive
from tcmax_jax.losses.additive import additive_terms
from tcmax_jax.losses.exhaustive import exhaustive_terms
from tcmax_jax.losses.heads import AdditiveHead
from tcmax_jax.losses.sampled import Sampled
from tcmax_jax.losses.terms import Measure, TCMaxTerms


def tcmax_loss(
    head,
    features,
    labels,
    *,
    negatives=None,
    chunk_size=None,
    label_prior=None,
    where=None,
    axis_name=None,
    num_negatives=None,
    key=None,
):
    """TCMax loss in the cheapest exact form for the head, or from sampled negatives.

      loss_i = -F(z_i, y_i) + log mean_{(j_1 .. j_M), y} exp F((z_1[j_1] .. z_M[j_M]), y)

    with F(z, y) = head(z)[y], z_m = features[m], y_i = labels[i]. -mean(loss) is a lower bound, in
    nats, of TC(z_1, .., z_M, y) + KL(p(y) || uniform).

    Args:
      head: an `AdditiveHead` (then the cost is O(M B C)), a `MultilinearHead` (each example is
        projected once), or any function {modality: [N, ...]} -> [N, C], called on all tuples.
      features: {modality: [B, ...]}, M >= 2 of them.
      labels: [B] integers in 0 .. C - 1.
      negatives: None visits all tuples exactly; `Sampled(512, key)` samples so many;
        `Adaptive(key)` as many as a standard error of 0.05 nats takes.
      chunk_size: most tuples in one block of the exact form, chosen from the shapes when None.
      label_prior: [C] reference distribution of the label; uniform when None.
      where: [B] bool, False for rows to leave out.
      axis_name: name of the mapped axis that holds the rest of the batch.
      num_negatives: deprecated for `negatives`: a number, or "adaptive".
      key: deprecated together with it.

    Returns:
      [B] float32 (or wider) losses in nats, 0 at masked rows; the caller takes the mean
      (`masked_mean`).

    Raises:
      ValueError, TypeError: shapes, dtypes or labels do not fit; see `tcmax_jax.losses.checks`.

    Source: TCMax (arXiv 2602.13015).

    Example:
      >>> import jax.numpy as jnp
      >>> z = {"audio": jnp.array([[2.0, 0.0], [0.0, 2.0]]), "visual": jnp.zeros((2, 2))}
      >>> print(tcmax_loss(AdditiveHead(lambda z: z), z, jnp.array([0, 1])))
      [-0.5662191 -0.5662191]
    """
    if num_negatives is not None:
        negatives = _negatives(num_negatives, key)
    return tcmax_terms(
        head,
        features,
        labels,
        negatives=negatives,
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
    negatives=None,
    chunk_size=None,
    label_prior=None,
    where=None,
    axis_name=None,
) -> TCMaxTerms:
    """Returns the loss of `tcmax_loss` with statistics of its partition function.

    For logs and studies: the effective sample size of the partition, the number of tuples visited
    and the standard error of the log-partition come at next to no cost beside the loss. The
    arguments are those of `tcmax_loss`.

    Example:
      >>> import jax.numpy as jnp
      >>> z = {"audio": jnp.array([[2.0, 0.0], [0.0, 2.0]]), "visual": jnp.zeros((2, 2))}
      >>> terms = tcmax_terms(AdditiveHead(lambda z: z), z, jnp.array([0, 1]))
      >>> print(f"{terms.effective_sample_size:.3f} of {terms.tuples:.0f} tuples x 2 classes")
      5.063 of 4 tuples x 2 classes
    """
    over = Measure(label_prior, where, axis_name)
    match negatives:
        case Sampled() | Adaptive():
            return negatives.terms(head, features, labels, over)
        case None if isinstance(head, AdditiveHead):
            return additive_terms(head.modality_logits(features), labels, over)
        case None:
            return exhaustive_terms(head, features, labels, over, chunk_size=chunk_size)
    raise TypeError(
        "Expected negatives to be None for all tuples, Sampled(number, key) or Adaptive(key), got "
        f"{negatives!r}."
    )


def sampled_tcmax_loss(head, features, labels, key, num_negatives, *, stratified=True, **options):
    """Deprecated in favour of `tcmax_loss` with `negatives=Sampled(..)`."""
    _deprecate("sampled_tcmax_loss(.., key, number)", "Sampled(number, key)")
    negatives = Sampled(num_negatives, key, stratified)
    return tcmax_loss(head, features, labels, negatives=negatives, **options)


def adaptive_tcmax_loss(head, features, labels, key, *, target_error=0.05, **options):
    """Deprecated in favour of `tcmax_loss` with `negatives=Adaptive(..)`."""
    _deprecate("adaptive_tcmax_loss(.., key)", "Adaptive(key)")
    most = options.pop("max_negatives", 2**16)
    negatives = Adaptive(key, target_error, most)
    return tcmax_loss(head, features, labels, negatives=negatives, **options)


def exhaustive_tcmax_loss(head, features, labels, **options):
    """Deprecated in favour of `tcmax_loss`, which is exact by default."""
    _deprecate("exhaustive_tcmax_loss(..)", "None")
    opaque = (lambda z: head(z)) if isinstance(head, AdditiveHead) else head
    return tcmax_loss(opaque, features, labels, **options)


def _negatives(number, key):
    """Returns the `negatives` for `num_negatives` and `key` of earlier versions."""
    if isinstance(number, str) and number != "adaptive":
        raise ValueError(
            'Expected num_negatives to be a whole number of at least 1, "adaptive", or None for '
            f"all tuples, got {number!r}."
        )
    new = "Adaptive(key)" if number == "adaptive" else f"Sampled({number!r}, key)"
    _deprecate(f"num_negatives={number!r}, key=key", new)
    return Adaptive(key) if number == "adaptive" else Sampled(number, key)


def _deprecate(old, new):
    warnings.warn(
        f"{old} is deprecated; use tcmax_loss(.., negatives={new}).",
        DeprecationWarning,
        stacklevel=3 if "tcmax_loss" in old else 4,
    )
