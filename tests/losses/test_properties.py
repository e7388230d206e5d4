"""What holds of the losses for any batch: order, constants, extremes, and the two ways to sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tcmax_jax.losses import additive_tcmax_loss, tcmax_loss
from tests.losses.reference import (
    ADDITIVE,
    PRODUCT,
    additive_head,
    exhaustive_tcmax_loss,
    product_head,
)

B, C = 5, 3
# One compiled program each, since all batches are of one shape.
LOSSES = {
    "additive": jax.jit(lambda z, y: tcmax_loss(ADDITIVE, z, y)),
    "multilinear": jax.jit(lambda z, y: tcmax_loss(PRODUCT, z, y)),
    "any": jax.jit(lambda z, y: tcmax_loss(product_head, z, y)),
}
GRADIENTS = {
    name: jax.jit(jax.value_and_grad(lambda z, y, loss=loss: jnp.mean(loss(z, y))))
    for name, loss in LOSSES.items()
}
CLOSED_FORM = jax.jit(additive_tcmax_loss)
EXHAUSTIVE = jax.jit(lambda z, y: exhaustive_tcmax_loss(additive_head, z, y))
SHIFTED = jax.jit(lambda z, y, shift: tcmax_loss(lambda x: product_head(x) + shift, z, y))
LABELS = hnp.arrays(np.int32, B, elements=st.integers(0, C - 1))


def features(largest):
    """Two modalities of float32 [B, C], at most `largest` to each side."""
    values = st.floats(-largest, largest, width=32)
    one = hnp.arrays(np.float32, (B, C), elements=values)
    return st.fixed_dictionaries({"m0": one, "m1": one})


@pytest.fixture(scope="module", autouse=True)
def strict():
    """As the fixture of that name, for the examples of all properties here."""
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


@pytest.mark.parametrize("name", LOSSES)
@given(features(10), LABELS, st.permutations(range(B)))
def test_the_order_of_the_examples_is_that_of_the_losses(name, z, labels, order):
    order = np.array(order)
    loss = LOSSES[name]
    there = loss({m: x[order] for m, x in z.items()}, labels[order])
    np.testing.assert_allclose(there, loss(z, labels)[order], rtol=1e-4, atol=1e-4)


@given(features(100), LABELS)
def test_the_closed_form_is_the_sum_over_all_tuples(z, labels):
    closed = CLOSED_FORM(z, labels)
    np.testing.assert_allclose(closed, EXHAUSTIVE(z, labels), rtol=1e-4, atol=1e-3)


@given(features(10), LABELS, st.floats(-1000, 1000, width=32))
def test_a_constant_on_all_logits_changes_nothing(z, labels, constant):
    plain = SHIFTED(z, labels, np.float32(0))
    shifted = SHIFTED(z, labels, np.float32(constant))
    np.testing.assert_allclose(shifted, plain, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["additive", "multilinear"])
@given(features(1e4), LABELS)
def test_losses_and_gradients_are_finite_at_any_logits(name, z, labels):
    value, gradients = GRADIENTS[name](z, labels)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients.values())
    assert np.all(np.isfinite(LOSSES[name](z, labels)))


@given(features(1e4), LABELS)
@settings(max_examples=50)
def test_no_loss_is_below_what_one_tuple_of_all_allows(z, labels):
    """The true tuple is among the B^2 C of the mean, which is at least its share."""
    assert np.min(LOSSES["additive"](z, labels)) >= -np.log(B**2 * C) - 1e-2
