"""Slow float64 versions of what the methods share, and single turns on the toy problem."""

import functools

import jax
import numpy as np

from tcmax_jax.methods import Forward, Step
from tests.methods.problem import MODALITIES, make_batch


def softmax(logits):
    """Returns [B, C] probabilities, row by row."""
    rows = []
    for row in np.float64(logits):
        terms = np.exp(row - row.max())
        rows.append(terms / terms.sum())
    return np.array(rows)


def cross_entropy(logits, labels):
    """Returns [B] losses, row by row."""
    losses = []
    for row, label in zip(np.float64(logits), labels, strict=True):
        largest = row.max()
        losses.append(largest + np.log(np.exp(row - largest).sum()) - row[label])
    return np.array(losses)


def label_scores(logits, labels):
    """Returns {modality: sum over rows of the label's probability}."""
    return {
        m: sum(p[y] for p, y in zip(softmax(z), labels, strict=True)) for m, z in logits.items()
    }


def ratio_to_others(scores):
    """Returns {modality: its score over the mean of the other modalities' scores}."""
    return {m: scores[m] / np.mean([scores[n] for n in scores if n != m]) for m in scores}


def joint_gradient(features, labels):
    """Returns the gradient [B, C] of the mean joint loss by the logits, which features sum to."""
    p = softmax(sum(np.float64(z) for z in features.values()))
    p[np.arange(len(labels)), labels] -= 1
    return p / len(labels)


def forward_of(head, features, labels, seed=0, **fields):
    """Returns a `Forward` with a key."""
    return Forward(head, features, labels, key=jax.random.key(seed), **fields)


def loss_of(method, head, features, labels, state=(), *, seed=0, **fields):
    """Returns a method's `Loss` of a batch, compiled: by single operations it takes far longer."""

    def compute(arrays, state, key):
        return method.loss(Forward(head, **arrays, key=key), state)

    arrays = {"features": features, "labels": labels, **fields}
    return jax.jit(compute)(arrays, state, jax.random.key(seed))


def random_params(toy, seed=0, scale=0.5):
    """Returns parameters of a toy problem away from its start, where the head is zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: np.float32(x + scale * rng.normal(size=x.shape)), toy.state.params
    )


def take_turn(toy, params, number=0, state=None, modalities=MODALITIES, **fields):
    """Returns what one turn of the toy problem's method gives back for the first batch."""
    defaults = {"key": jax.random.key(0), "progress": 0.0}
    batch = make_batch(modalities=modalities)
    step = Step(toy.model, toy.state.batch_stats, batch, **(defaults | fields))
    state = toy.state.method_state if state is None else state
    turn = functools.partial(toy.method.turns[number], step)
    return jax.jit(turn)(params, state)  # by single operations it takes far longer


def gradient_of(toy, params, logits, batch=None):
    """Returns the gradient of the mean loss of `logits(variables, inputs)` by the parameters."""
    batch = make_batch() if batch is None else batch

    def loss(params):
        log_p = jax.nn.log_softmax(logits({"params": params}, batch["inputs"]))
        return -sum(log_p[i, y] for i, y in enumerate(batch["label"])) / len(log_p)

    return jax.jit(jax.grad(loss))(params)


def assert_trees_close(one, other, rtol=1e-4, atol=1e-6):
    """Asserts equal structure and close leaves."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, expected), got in zip(
        jax.tree.leaves_with_path(other), jax.tree.leaves(one), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol, err_msg=str(path))
