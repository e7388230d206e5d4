"""Predictions of a head from a subset of the modalities."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial

from tcmax_jax.losses import checks
from tcmax_jax.losses.collectives import count, logsumexp, to_float32
from tcmax_jax.losses.draws import draw_orders, tuples_of_all
from tcmax_jax.losses.heads import AdditiveHead, MultilinearHead, tuple_scorer
from tcmax_jax.losses.terms import keep_valid
from tcmax_jax.losses.tuples import BLOCK_FLOATS, split_rows


def marginal_logits(
    head,
    features,
    bank,
    known,
    *,
    normalize=False,
    where=None,
    max_tuples=1024,
    chunk_size=None,
):
    """Logits of the label given some of the modalities, the others averaged over a bank.

      G(z_K)_y = log mean_{(j_m), m not in K} exp F(z_K, (bank_m[j_m]))_y,  K = known

    with F = head, and the index j_m of each missing modality running over the rows of the bank by
    itself, as in the product of marginals of the loss. At TCMax's optimum q(y) exp G is
    proportional to p(y | z_K), so that softmax(G + log label_prior) is the prediction. It depends
    on F alone: class offsets that the parts of an additive head hold against each other, and that
    cancel in the sum, change nothing.

    An additive head has it in closed form, sum_{m in K} f_m(z_m) + sum_{m not in K} log mean_j
    exp f_m(bank_m[j]), in O((N + B) C). Any other is averaged over tuples of the bank's rows, in
    blocks of bounded memory; additive and multilinear ones project each row once.

    Args:
      head: as in `tcmax_loss`.
      features: {modality: [N, ...]}; only those of `known` are looked at.
      bank: {modality: [B, ...]} of all modalities, from examples such as those of validation.
      known: names of one or more modalities, K.
      normalize: whether to average the probabilities softmax F of each tuple in place of exp F:
        for a head that cross-entropy has trained, which knows F up to a constant for each example
        only, so that exp F has no common scale.
      where: [B] bool, False for rows of the bank to leave out.
      max_tuples: most tuples of the missing modalities to average over where there is no closed
        form; None takes all B^k for k missing ones. Where they are more, tuples without repetition
        are taken in which all rows occur equally often, always the same ones.
      chunk_size: most pairs of an example and a tuple in one block; chosen from the shapes when
        None.

    Returns:
      [N, C] float32 (or wider) G; with `normalize` the logarithms of probabilities.

    Raises:
      ValueError, TypeError: shapes, dtypes or names do not fit; see `tcmax_jax.losses.checks`.

    Source: TCMax (arXiv 2602.13015), the density ratio at the optimum; its marginals are worked out
      here.

    Example:
      >>> import jax.numpy as jnp
      >>> from tcmax_jax.losses import AdditiveHead
      >>> bank = {"audio": jnp.zeros((2, 2)), "visual": jnp.array([[3.0, 0.0], [3.0, 0.0]])}
      >>> print(marginal_logits(AdditiveHead(lambda z: z), {"audio": jnp.eye(2)}, bank, ["audio"]))
      [[4. 0.]
       [3. 1.]]
    """
    bank_size = checks.check_features(bank)
    checks.check_known(known, features, bank)
    checks.check_where(where, bank_size)
    checks.check_bank_rows(where)
    for name, value in (("max_tuples", max_tuples), ("chunk_size", chunk_size)):
        if value is not None:
            checks.check_positive_int(value, name)
    bank = {m: keep_valid(bank[m], where) for m in sorted(bank)}
    number = features[known[0]].shape[0]
    # Heads may ask for all modalities; what they make of the missing ones is not looked at.
    whole = {
        m: jnp.asarray(features[m]) if m in known else jnp.zeros((number, *z.shape[1:]), z.dtype)
        for m, z in bank.items()
    }
    if isinstance(head, AdditiveHead) and not normalize:
        parts, others = head.modality_logits(whole), head.modality_logits(bank)
        checks.check_modality_logits(parts)
        checks.check_modality_logits(others)
        return _closed_form(parts, others, tuple(known), where)
    scorer = tuple_scorer(head, whole)
    score, rows, stored = scorer.score, scorer.rows, tuple_scorer(head, bank).rows
    if isinstance(head, AdditiveHead | MultilinearHead):
        # Its sums over modalities and projections too.
        score, rows, stored = jax.tree.map(to_float32, (score, rows, stored))
    log_mean = _compiled_log_mean if isinstance(score, Partial) else _log_mean
    return log_mean(
        score,
        {m: rows[m] for m in whole if m in known},
        {m: stored[m] for m in whole if m not in known},
        where,
        normalize=normalize,
        max_tuples=max_tuples,
        chunk_size=chunk_size,
    )


@functools.partial(jax.jit, static_argnames="known")
def _closed_form(parts, others, known, where):
    """Returns the logits of an additive head from its parts, [N, C], and those of the bank."""
    bank_size = len(next(iter(others.values())))
    logits = sum(to_float32(parts[m]) for m in parts if m in known)
    log_rows = jnp.log(count(where, bank_size, dtype=logits.dtype))
    for m in others:
        if m not in known:
            scores = to_float32(others[m])
            if where is not None:
                scores = jnp.where(where[:, None], scores, -jnp.inf)
            logits += (logsumexp(scores, axis=0) - log_rows)[None]
    return logits


def _log_mean(score, rows, bank, where, *, normalize, max_tuples, chunk_size):
    """Returns the logits [N, C] as means over tuples.

    Args:
      score: function {modality: pytree of [n, ...]} -> logits [n, C].
      rows: {modality: pytree of [N, ...]} of the known modalities.
      bank: {modality: pytree of [B, ...]} of the missing ones; there may be none.
      where: [B] bool or None.
      normalize: as in `marginal_logits`, like the next two.
      max_tuples: int or None.
      chunk_size: int or None.
    """

    def scores_of(rows, indices):
        """Returns [b, t, C], those of b examples with each of t tuples [t, k]."""
        pair = len(jax.tree.leaves(rows)[0]), len(indices)
        spread = {m: jax.tree.map(lambda x: _pairs(x[:, None], pair), z) for m, z in rows.items()}
        for i, (m, z) in enumerate(bank.items()):
            spread[m] = jax.tree.map(lambda x, i=i: _pairs(x[indices[:, i]][None], pair), z)
        logits = score(spread)
        checks.check_logits(logits, math.prod(pair))
        scores = to_float32(logits).reshape(*pair, -1)
        return jax.nn.log_softmax(scores) if normalize else scores

    number = jax.tree.leaves(rows)[0].shape[0]
    draw, num_tuples, valid_tuples = _draws(bank, where, max_tuples)
    shape = jax.eval_shape(
        lambda: scores_of(jax.tree.map(lambda x: x[:1], rows), draw(jnp.zeros(1, jnp.int32)))
    )
    if chunk_size is None:
        floats = sum(math.prod(x.shape[1:]) for x in jax.tree.leaves((rows, bank)))
        chunk_size = max(1, BLOCK_FLOATS // (floats + shape.shape[-1]))
    tuples_at_once = min(num_tuples, chunk_size)
    examples_at_once = max(1, chunk_size // tuples_at_once)
    if isinstance(number, int):  # An exported function does not know its number of examples.
        examples_at_once = min(number, examples_at_once)

    def of_examples(rows):
        def add(log_sums, block):
            numbers = block * tuples_at_once + jnp.arange(tuples_at_once, dtype=jnp.int32)
            inside = numbers.astype(shape.dtype) < valid_tuples
            scores = jnp.where(inside[None, :, None], scores_of(rows, draw(numbers)), -jnp.inf)
            return jnp.logaddexp(log_sums, logsumexp(scores, axis=1)), None

        nothing = jnp.full((examples_at_once, shape.shape[-1]), -jnp.inf, shape.dtype)
        blocks = jnp.arange(-(-num_tuples // tuples_at_once), dtype=jnp.int32)
        return lax.scan(add, nothing, blocks)[0]

    parts = jax.tree.map(lambda x: split_rows(x, examples_at_once), rows)
    log_sums = lax.map(of_examples, parts).reshape(-1, shape.shape[-1])[:number]
    return log_sums - jnp.log(valid_tuples.astype(shape.dtype))


# Of a plain function a cache would keep the parameters, and it is a new one each time.
_compiled_log_mean = functools.partial(
    jax.jit, static_argnames=("normalize", "max_tuples", "chunk_size")
)(_log_mean)


def _draws(bank, where, max_tuples):
    """Returns the tuples of the bank's rows that are averaged over in place of all.

    Returns:
      (function from numbers [t] int32 to row indices [t, k], how many numbers from 0 on there are,
      and a float32 scalar: how many of them count). Valid rows may have fewer tuples than the bank;
      beyond those, tuples come again.
    """
    if not bank:
        return lambda numbers: jnp.zeros((len(numbers), 0), jnp.int32), 1, jnp.ones(())
    size = len(jax.tree.leaves(bank)[0])
    number = size ** len(bank) if max_tuples is None else min(size ** len(bank), max_tuples)
    labels = jnp.zeros(size, jnp.int32)  # on which these tuples do not depend
    orders = draw_orders(jax.random.key(0), labels, len(bank), where=where)
    there_are = orders.num_rows.astype(jnp.float32) ** len(bank)
    return lambda numbers: tuples_of_all(orders, numbers)[0], number, jnp.minimum(there_are, number)


def _pairs(x, pair):
    """Returns [b or 1, t or 1, ...] as rows for each of the b t pairs, [b t, ...]."""
    return jnp.broadcast_to(x, (*pair, *x.shape[2:])).reshape(-1, *x.shape[2:])
