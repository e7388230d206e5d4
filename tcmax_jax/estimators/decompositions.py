"""Estimators of total correlation: direct, or a sum of mutual informations (a line or a tree)."""

import math

import jax.numpy as jnp

from tcmax_jax.estimators.bounds import log_mean_exp, mean
from tcmax_jax.estimators.critics import JointCritic
from tcmax_jax.estimators.estimator import LOWER, Estimator, State, total
from tcmax_jax.estimators.mutual_information import PAIR_BOUNDS, mutual_information
from tcmax_jax.estimators.total_correlation import (
    line_splits,
    log_mean_exp_of_all,
    shuffled_tuples,
    tcne_of_log_mean,
    tree_splits,
    tuple_count,
    tuple_weights,
)

NUM_NEGATIVES = 4096
_SPLITS = {"line": line_splits, "tree": tree_splits}


def direct(
    names, *, with_true=True, num_negatives=NUM_NEGATIVES, critic=JointCritic, given=None
) -> Estimator:
    """Returns the direct estimator of TC(names), or of TC(names | given): one critic, `tcne`.

    Args:
      names: the variables, two or more; with two TC is their mutual information.
      with_true: whether each true tuple is among its own negatives.
      num_negatives: most shuffled tuples of a batch; a choice of cost and, with the true tuples, of
        the ceiling. None takes all tuples of different rows, for an `AdditiveCritic`.
      critic: function from names of variables to a critic of them.
      given: a one-hot label; then the tuples are shuffled within the same label, and the critic
        sees the label as well.

    Raises:
      ValueError: `num_negatives` None with another critic, or with `given`.
    """
    names, seen = tuple(names), tuple(names) if given is None else (*names, given)
    model = critic(seen)
    if num_negatives is None and (given is not None or not hasattr(model, "pair_scores")):
        raise ValueError(
            "Expected a number for num_negatives, got None, which sums over all tuples: that takes "
            f"an AdditiveCritic and no `given`, got {type(model).__name__} and given={given!r}."
        )

    def of_negatives(params, batch, embeddings, key, weights):
        """Returns (log-mean-exp of the scores of shuffled tuples, their number)."""
        if num_negatives is None:
            own, pairs = model.apply(params, embeddings, method="pair_scores")
            return log_mean_exp_of_all(own, pairs, weights), math.perm(own.shape[1], len(names))
        labels = None if given is None else _dense_labels(batch[given])
        tuples = shuffled_tuples(key, num_negatives, len(names), len(batch[names[0]]), labels)
        columns = [*range(len(names)), 0]  # `given`, if any, comes from the first row
        picked = {m: embeddings[m][tuples[:, i]] for m, i in zip(seen, columns, strict=False)}
        product = model.apply(params, picked, method="score")
        product_weights = None if weights is None else tuple_weights(weights, tuples, labels)
        return log_mean_exp(product, product_weights), len(product)

    def bound(params, batch, key, weights=None):
        embeddings = model.apply(params, {m: batch[m] for m in seen}, method="embed")
        joint = model.apply(params, embeddings, method="score")
        log_mean, count = of_negatives(params, batch, embeddings, key, weights)
        if with_true:
            return tcne_of_log_mean(joint, log_mean, count, weights=weights)
        return mean(joint, weights) - log_mean

    def ceiling(batch_size):
        most = tuple_count(num_negatives, len(names), batch_size)
        return math.log(most + 1) if with_true else None

    return Estimator(
        name="tcne" if with_true else "tcne_dv",
        kind=LOWER,
        condition="in expectation, for any critic, on a large batch"
        + ("" if with_true else "; on a small one too high on average"),
        init=lambda key, batch: State(model.init(key, {m: batch[m] for m in seen})),
        loss=lambda state, batch, key: (-bound(state.params, batch, key), state.memory),
        value=bound,
        ceiling=ceiling,
    )


def decomposed(shape: str, bound: str, names, **options) -> Estimator:
    """Returns the estimator of TC(names) as a sum of mutual informations.

    Args:
      shape: "line" (one variable after the other) or "tree" (half by half).
      bound: a name of `PAIR_BOUNDS`.
      names: the variables, in order.
      **options: of `mutual_information`.
    """
    parts = [mutual_information(bound, *split, **options) for split in _SPLITS[shape](names)]
    return total(f"{shape}_{bound}", parts)


def estimator_names() -> tuple[str, ...]:
    """Returns the names that `make_estimator` accepts."""
    return ("tcne", "tcne_dv", *(f"{shape}_{bound}" for shape in _SPLITS for bound in PAIR_BOUNDS))


def make_estimator(
    name, names, *, num_negatives=NUM_NEGATIVES, critic=JointCritic, categorical=(), **options
) -> Estimator:
    """Returns the estimator of TC(names) by its name.

    Args:
      name: "tcne" (with the true tuples among the negatives), "tcne_dv" (without), or "line_" or
        "tree_" and a bound of `PAIR_BOUNDS`.
      names: the variables.
      num_negatives: of the direct ones.
      critic: function from names of variables to a critic of them.
      categorical: names of the one-hot labels among the variables.
      **options: of `mutual_information`.

    Raises:
      ValueError: an unknown name.

    Example:
      >>> make_estimator("tree_infonce", ("audio", "visual", "text")).kind
      'lower bound'
    """
    if name not in estimator_names():
        raise ValueError(
            f"Expected the name of an estimator ({', '.join(estimator_names())}), got {name!r}."
        )
    if name.startswith("tcne"):
        return direct(names, with_true=name == "tcne", num_negatives=num_negatives, critic=critic)
    shape, bound = name.split("_", 1)
    return decomposed(shape, bound, names, critic=critic, categorical=categorical, **options)


def _dense_labels(one_hot):
    """Returns labels 0 .. B - 1 of one-hot rows [B, C], the same number for equal rows.

    Class numbers themselves may exceed B; the first row with a label is as good a name for it.
    """
    label = jnp.argmax(one_hot, axis=1)
    return jnp.argmax(label[:, None] == label, axis=1).astype(jnp.int32)
