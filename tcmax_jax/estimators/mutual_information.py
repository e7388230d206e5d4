"""Estimators of mutual information between two groups of variables: one for each bound."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tcmax_jax.estimators import bounds
from tcmax_jax.estimators.bounds import off_diagonal
from tcmax_jax.estimators.club import Conditional, club, club_sampled
from tcmax_jax.estimators.critics import JointCritic
from tcmax_jax.estimators.estimator import LOWER, NEITHER, UPPER, Estimator, State


class PairBound(NamedTuple):
    """A bound of mutual information from the scores of all pairs of a batch.

    Attributes:
      kind: "lower bound", "upper bound" or "neither".
      condition: a sentence, when the kind holds.
      value: function (scores [B, B], weights [B] or None, key) -> nats.
      objective: function (scores [B, B], memory) -> (scalar to maximise, memory); None for the
        value of equal weights, which needs no key.
      memory: what the first `objective` gets.
      ceiling: function from B to what the value cannot exceed, or None.
      conditional: whether scores are log q(y | x) rather than values of a critic.
    """

    kind: Literal["lower bound", "upper bound", "neither"]
    condition: str
    value: Callable
    objective: Callable | None = None
    memory: Any = ()
    ceiling: Callable[[int], float | None] = lambda batch_size: None
    conditional: bool = False


_ANY_CRITIC = "in expectation, for any critic"
_LARGE_BATCH = f"{_ANY_CRITIC}, on a large batch; on a small one too high on average"
_IF_Q_IS_P = "if the fitted q(y | x) equals p(y | x)"


def _split(scores):
    return jnp.diagonal(scores), off_diagonal(scores)


def _of_pairs(bound):
    """Lifts a bound of (joint, product) values to the scores of all pairs of a batch."""

    def value(scores, weights, key):
        pairs = None if weights is None else off_diagonal(weights[:, None] * weights)
        return bound(*_split(scores), joint_weights=weights, product_weights=pairs)

    return value


def _of_matrix(bound):
    return lambda scores, weights, key: bound(scores, weights=weights)


def _club_sampled(scores, weights, key):
    partner = jax.random.permutation(key, len(scores))
    product = scores[jnp.arange(len(scores)), partner]
    pairs = None if weights is None else weights * weights[partner]
    return club_sampled(jnp.diagonal(scores), product, joint_weights=weights, product_weights=pairs)


def _jensen_shannon(scores, memory):
    return bounds.jensen_shannon(*_split(scores)), memory


def _likelihood(scores, memory):
    return bounds.mean(jnp.diagonal(scores)), memory


_dv = _of_pairs(bounds.donsker_varadhan)
PAIR_BOUNDS = {
    "dv": PairBound(LOWER, _LARGE_BATCH, _dv),
    "mine": PairBound(
        LOWER,
        _LARGE_BATCH,
        _dv,
        lambda scores, memory: bounds.mine_objective(*_split(scores), memory),
        memory=np.float32(0),
    ),
    "nwj": PairBound(LOWER, _ANY_CRITIC, _of_pairs(bounds.nwj)),
    "infonce": PairBound(LOWER, _ANY_CRITIC, _of_matrix(bounds.infonce), ceiling=math.log),
    "smile": PairBound(
        NEITHER, "for its clipping biases it either way", _of_pairs(bounds.smile), _jensen_shannon
    ),
    "js_nwj": PairBound(LOWER, _ANY_CRITIC, _of_pairs(bounds.js_nwj), _jensen_shannon),
    "club": PairBound(UPPER, _IF_Q_IS_P, _of_matrix(club), _likelihood, conditional=True),
    "club_sampled": PairBound(UPPER, _IF_Q_IS_P, _club_sampled, _likelihood, conditional=True),
}


def mutual_information(
    bound, left, right, *, critic=JointCritic, conditional=Conditional, categorical=()
) -> Estimator:
    """Returns an estimator of I(left; right).

    Args:
      bound: a name of `PAIR_BOUNDS`.
      left: names of the variables on one side.
      right: names of those on the other.
      critic: function from the names of variables to a critic of them, such as a class of
        `tcmax_jax.estimators.critics`.
      conditional: for club and club_sampled, function (left, right, categorical) to a model like
        `Conditional`.
      categorical: names of the one-hot labels among the variables.

    Raises:
      ValueError: an unknown bound.
    """
    if bound not in PAIR_BOUNDS:
        raise ValueError(
            f"Expected a bound of mutual information ({', '.join(PAIR_BOUNDS)}), got {bound!r}."
        )
    chosen, names = PAIR_BOUNDS[bound], (*left, *right)
    model = (
        conditional(left, right, frozenset(categorical)) if chosen.conditional else critic(names)
    )

    def scores(params, batch):
        embeddings = model.apply(params, {m: batch[m] for m in names}, method="embed")
        # Entry [i, j] has `left` from example i and `right` from example j.
        spread = {m: e[None] if m in right else e[:, None] for m, e in embeddings.items()}
        return model.apply(params, spread, method="score")

    def init(key, batch):
        return State(model.init(key, {m: batch[m] for m in names}), chosen.memory)

    def loss(state, batch, key):
        of_batch = scores(state.params, batch)
        if chosen.objective is None:
            return -chosen.value(of_batch, None, key), state.memory
        objective, memory = chosen.objective(of_batch, state.memory)
        return -objective, memory

    def value(params, batch, key, weights=None):
        return chosen.value(scores(params, batch), weights, key)

    return Estimator(
        bound, chosen.kind, chosen.condition, init, loss, value, ceiling=chosen.ceiling
    )
