"""Mutual information of a label and other variables, estimated with a classifier."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from tcmax_jax.estimators.bounds import donsker_varadhan, mean
from tcmax_jax.estimators.club import categorical_log_likelihood
from tcmax_jax.estimators.critics import MLP
from tcmax_jax.estimators.estimator import LOWER, Estimator, State
from tcmax_jax.estimators.total_correlation import shuffled_tuples, tuple_weights


def entropy(probabilities):
    """Returns -sum_y p_y log p_y in nats, differentiable where all p_y > 0, 0 log 0 = 0."""
    positive = probabilities > 0
    return -jnp.sum(
        jnp.where(positive, probabilities * jnp.log(jnp.where(positive, probabilities, 1)), 0)
    )


def label_information(names, label, *, sizes: Sequence[int] = (64, 64)) -> Estimator:
    """Returns an estimator of I(y; z) for a label y: its entropy less a classifier's loss.

      I(y; z) = H(y) - H(y | z) >= H(y) + E log q(y | z)

    for any classifier q, here a multilayer perceptron. H(y) is that of the label's frequencies in
    the batch, which lies below the true one by about (C - 1) / 2B, and is part of the standard
    error.

    Args:
      names: the variables z, taken together.
      label: the name of y, one-hot.
      sizes: units of the hidden layers of q.

    Source: Barber and Agakov, The IM Algorithm, 2003.
    """

    def model(batch):
        return MLP((*sizes, batch[label].shape[-1]), nn.relu)

    def inputs(batch):
        return jnp.concatenate([batch[m] for m in names], axis=-1)

    def log_likelihood(params, batch):
        logits = model(batch).apply(params, inputs(batch))
        return categorical_log_likelihood(batch[label], logits)

    def value(params, batch, key, weights=None):
        del key
        frequencies = _frequencies(batch[label], weights)
        return entropy(frequencies) + mean(log_likelihood(params, batch), weights)

    return Estimator(
        name="entropy less cross-entropy",
        kind=LOWER,
        condition="in expectation, for any classifier, but for the sampling error of H(y)",
        init=lambda key, batch: State(model(batch).init(key, inputs(batch))),
        loss=lambda state, batch, key: (-mean(log_likelihood(state.params, batch)), state.memory),
        value=value,
    )


def head_information(head, names, label, *, num_negatives) -> Estimator:
    """Returns the bound of TC(z_1, .., z_M, y) for which a classifier's own head is the critic.

      mean_i F(z_i, y_i) - log sum_y p(y) mean_tuples exp F((z_1[j_1] .. z_M[j_M]), y)

    with p(y) the frequencies of the labels in the batch: `tcmax_loss` with that label_prior, and
    the sign changed. Nothing is fitted.

    Args:
      head: function {modality: [N, D]} -> logits F, [N, C].
      names: the modalities.
      label: the name of y, one-hot.
      num_negatives: most shuffled tuples of a batch.

    Source: TCMax (arXiv 2602.13015).
    """
    names = tuple(names)

    def value(params, batch, key, weights=None):
        del params
        features, labels = {m: batch[m] for m in names}, batch[label]
        tuples = shuffled_tuples(key, num_negatives, len(names), len(labels))
        weight = 1.0 if weights is None else tuple_weights(weights, tuples)[:, None]
        picked = {m: x[tuples[:, i]] for i, (m, x) in enumerate(features.items())}
        logits = head(picked)
        return donsker_varadhan(
            jnp.sum(labels * head(features), axis=-1),
            logits,
            joint_weights=weights,
            product_weights=jnp.broadcast_to(weight * _frequencies(labels, weights), logits.shape),
        )

    return Estimator(
        name="head",
        kind=LOWER,
        condition="in expectation, on a large batch; on a small one too high on average",
        init=lambda key, batch: State(()),
        loss=lambda state, batch, key: (-value((), batch, key), state.memory),
        value=value,
    )


def _frequencies(one_hot, weights):
    """Returns the (weighted) frequency of each class, [C]."""
    if weights is None:
        return jnp.mean(one_hot, axis=0)
    return weights @ one_hot / jnp.sum(weights)
