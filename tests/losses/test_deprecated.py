"""Calls of earlier versions: the same numbers, and what to write instead."""

import functools

import jax
import numpy as np
import pytest

from tcmax_jax import losses
from tcmax_jax.losses import Adaptive, Sampled, tcmax_loss
from tests.losses.reference import ADDITIVE, make_batch, product_head

KEY = jax.random.key(3)


@pytest.mark.parametrize(
    ("old", "negatives", "instead"),
    [
        (
            lambda *z: tcmax_loss(*z, num_negatives=8, key=KEY),
            Sampled(8, KEY),
            r"Sampled\(8, key\)",
        ),
        (
            lambda *z: tcmax_loss(*z, num_negatives="adaptive", key=KEY),
            Adaptive(KEY),
            r"Adaptive\(key\)",
        ),
        (
            lambda *z: losses.sampled_tcmax_loss(*z, KEY, 8, stratified=False),
            Sampled(8, KEY, stratified=False),
            r"Sampled\(number, key\)",
        ),
        (
            lambda *z: losses.adaptive_tcmax_loss(*z, KEY, target_error=0.5, max_negatives=99),
            Adaptive(KEY, 0.5, 99),
            r"Adaptive\(key\)",
        ),
        (lambda *z: losses.exhaustive_tcmax_loss(*z, chunk_size=4), None, r"negatives=None"),
    ],
)
def test_old_calls_work_and_name_the_new_one(old, negatives, instead):
    batch = make_batch(0, dtype=np.float32)
    with pytest.warns(DeprecationWarning, match=instead) as warned:
        got = jax.jit(functools.partial(old, product_head))(*batch)
    assert [each.filename for each in warned] == [__file__]
    new = functools.partial(tcmax_loss, product_head, negatives=negatives)
    np.testing.assert_allclose(got, jax.jit(new)(*batch), rtol=1e-6)


def test_the_exhaustive_form_of_an_additive_head_is_its_loss():
    batch = make_batch(1, dtype=np.float32)
    with pytest.warns(DeprecationWarning):
        got = losses.exhaustive_tcmax_loss(ADDITIVE, *batch)
    np.testing.assert_allclose(got, tcmax_loss(ADDITIVE, *batch), rtol=1e-5)


def test_negatives_cross_a_jit_as_they_are():
    batch = make_batch(2, dtype=np.float32)
    loss = jax.jit(lambda negatives: tcmax_loss(product_head, *batch, negatives=negatives))
    np.testing.assert_allclose(
        loss(Sampled(8, KEY)),
        tcmax_loss(product_head, *batch, negatives=Sampled(8, KEY)),
        rtol=1e-5,
    )
