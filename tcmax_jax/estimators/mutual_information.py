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
      objective: function (scores [B, B], memory) -> (scalar to maximise, memory).
      memory: what the first `objective` gets.
      ceiling: function from B to what the value cannot exceed, or None.
      conditional: whether scores are log q(y | x) rather than values of a critic.
    """

    kind: Literal["lower bound", "upper bound", "neither"]
    condition: str
    value: Callable
    objective: Callable
    memory: Any = ()
    ceiling: Callable[[int], float | None] = lambda batch_size: None
    conditional: bool = False


_ANY_CRITIC = "in expectation, for any critic"
_LARGE_BATCH = f"{_ANY_CRITIC}, on a large batch; on a small one too high on average"
_IF_Q_IS_P = "if the fitted q(y | x) equals p(y | x)"


def _split(scores):
    return jnp.diagonal(scores), off_diagonal(scores)


def _value_of(bound):
    """Lifts a bound of (joint, product) values to the scores of all pairs of a batch."""

    def value(scores, weights, key):
        del key
        if weights is None:
            return bound(*_split(scores))
        pairs = off_diagonal(weights[:, None] * weights)
        return bound(*_split(scores), joint_weights=weights, product_weights=pairs)

    return value


def _stateless(objective):
    return lambda scores, memory: (objective(*_split(scores)), memory)


def _infonce(scores, weights, key):
    del key
    return bounds.infonce(scores, weights=weights)


def _club(scores, weights, key):
    del key
    return club(scores, weights=weights)


def _club_sampled(scores, weights, key):
    partner = jax.random.permutation(key, len(scores))
    rows = jnp.arange(len(scores))
    product = scores[rows, partner]
    if weights is None:
        return club_sampled(jnp.diagonal(scores), product)
    pairs = weights * weights[partner]
    return club_sampled(jnp.diagonal(scores), product, joint_weights=weights, product_weights=pairs)


def _likelihood(scores, memory):
    return bounds.mean(jnp.diagonal(scores)), memory


PAIR_BOUNDS = {
    "dv": PairBound(
        LOWER,
        _LARGE_BATCH,
        _value_of(bounds.donsker_varadhan),
        _stateless(bounds.donsker_varadhan),
    ),
    "mine": PairBound(
        LOWER,
        _LARGE_BATCH,
        _value_of(bounds.donsker_varadhan),
        lambda scores, memory: bounds.mine_objective(*_split(scores), memory),
        memory=np.float32(0),
    ),
    "nwj": PairBound(LOWER, _ANY_CRITIC, _value_of(bounds.nwj), _stateless(bounds.nwj)),
    "infonce": PairBound(
        LOWER,
        _ANY_CRITIC,
        _infonce,
        lambda scores, memory: (bounds.infonce(scores), memory),
        ceiling=math.log,
    ),
    "smile": PairBound(
        NEITHER,
        "for its clipping biases it either way",
        _value_of(bounds.smile),
        _stateless(bounds.jensen_shannon),
    ),
    "js_nwj": PairBound(
        LOWER, _ANY_CRITIC, _value_of(bounds.js_nwj), _stateless(bounds.jensen_shannon)
    ),
    "club": PairBound(UPPER, _IF_Q_IS_P, _club, _likelihood, conditional=True),
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
    if chosen.conditional:
        model = conditional(left, right, frozenset(categorical))
    else:
        model = critic(names)

    def scores(params, batch):
        embeddings = model.apply(params, {m: batch[m] for m in names}, method="embed")
        # Entry [i, j] has `left` from example i and `right` from example j.
        spread = {m: e[None] if m in right else e[:, None] for m, e in embeddings.items()}
        return model.apply(params, spread, method="score")

    def init(key, batch):
        return State(model.init(key, {m: batch[m] for m in names}), chosen.memory)

    def loss(state, batch, key):
        del key
        objective, memory = chosen.objective(scores(state.params, batch), state.memory)
        return -objective, memory

    def value(params, batch, key, weights=None):
        return chosen.value(scores(params, batch), weights, key)

    return Estimator(
        name=bound,
        kind=chosen.kind,
        condition=chosen.condition,
        init=init,
        loss=loss,
        value=value,
        ceiling=chosen.ceiling,
    )
