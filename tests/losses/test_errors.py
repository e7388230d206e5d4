"""Bad input: every refusal says what was expected, what came and how to fix it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax.losses import (
    AdditiveHead,
    MultilinearHead,
    Projections,
    Sampled,
    additive_tcmax_loss,
    marginal_logits,
    tcmax_ceiling,
    tcmax_loss,
)
from tests.losses.reference import (
    adaptive_tcmax_loss,
    exhaustive_tcmax_loss,
    make_batch,
    product_head,
    sampled_tcmax_loss,
)

LABELS = np.array([0, 1, 2, 0, 1])
FEATURES, _ = make_batch(0, dtype=np.float32)


def additive(features=FEATURES, labels=LABELS, **options):
    return additive_tcmax_loss(features, labels, **options)


def exhaustive(features=FEATURES, labels=LABELS, head=product_head, **options):
    return exhaustive_tcmax_loss(head, features, labels, **options)


def sampled(features=FEATURES, labels=LABELS, head=product_head, num_negatives=4, **options):
    return sampled_tcmax_loss(head, features, labels, jax.random.key(0), num_negatives, **options)


ALL = pytest.mark.parametrize("loss", [additive, exhaustive, sampled])


EMPTY = {name: x[:0] for name, x in FEATURES.items()}


@pytest.mark.parametrize(
    "call",
    [
        lambda: additive(EMPTY, LABELS[:0]),
        lambda: exhaustive(EMPTY, LABELS[:0]),
        lambda: sampled(EMPTY, LABELS[:0]),
        lambda: adaptive_tcmax_loss(product_head, EMPTY, LABELS[:0], jax.random.key(0)),
        lambda: tcmax_loss(AdditiveHead(lambda z: z), EMPTY, LABELS[:0]),
        lambda: tcmax_ceiling(LABELS[:0], 2, 3),
        lambda: marginal_logits(product_head, FEATURES, EMPTY, ["m0"]),
    ],
)
def test_an_empty_batch(call):
    with pytest.raises(ValueError, match=r"at least one example, got none\. Skip empty batches\."):
        call()


@ALL
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"labels": LABELS + 1}, ValueError, r"labels in 0 \.\. 2 .* got 3\. Mask examples"),
        ({"labels": LABELS - 1}, ValueError, r"labels in 0 \.\. 2 .* got -1"),
        ({"labels": LABELS[:4]}, ValueError, r"labels of shape \[5\].*got shape \(4,\)"),
        ({"labels": LABELS * 1.0}, TypeError, r"integer labels, got dtype float.*argmax"),
        ({"labels": np.eye(3, dtype=int)[LABELS]}, ValueError, r"got shape \(5, 3\)"),
        ({"labels": [0, 1, 2, 0, 1]}, TypeError, r"labels as an array, got list\. Wrap"),
        ({"where": np.ones(5)}, TypeError, r"boolean mask `where`, got dtype float"),
        ({"where": np.ones(4, bool)}, ValueError, r"`where` of shape \[5\].*got shape \(4,\)"),
        ({"label_prior": np.ones(3)}, ValueError, r"sum 1\), got .* with sum 3"),
        ({"label_prior": np.ones(2) / 2}, ValueError, r"shape \[3\].*got shape \(2,\)"),
        ({"features": {"m0": FEATURES["m0"]}}, ValueError, r"at least two modalities.*\['m0'\]"),
    ],
)
def test_shared_refusals(loss, arguments, error, message):
    with pytest.raises(error, match=message):
        loss(**arguments)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: additive({"a": np.ones((5, 3)), "v": np.ones((5, 4))}),
            ValueError,
            r"same \[batch, classes\] shape .*'a': \(5, 3\), 'v': \(5, 4\)",
        ),
        (lambda: additive({"a": np.ones(5), "v": np.ones(5)}), ValueError, r"got shape \(5,\)"),
        (
            lambda: additive({"a": np.ones((5, 3), int), "v": np.ones((5, 3), int)}),
            TypeError,
            "floating point, got int",
        ),
        (
            lambda: exhaustive({"a": np.ones((5, 3)), "v": np.ones((4, 3))}),
            ValueError,
            r"same number of examples in all features, got \{'a': 5, 'v': 4\}",
        ),
        (lambda: exhaustive(list(FEATURES.values())), TypeError, "as a mapping .*got list"),
        (
            lambda: exhaustive(head=lambda z: jnp.ones((5,))),
            ValueError,
            r"logits of shape \[5, classes\].*got shape \(5,\)",
        ),
        (lambda: exhaustive(chunk_size=0), ValueError, "chunk_size to be a whole .*got 0"),
        (
            lambda: tcmax_loss(product_head, FEATURES, LABELS, num_negatives="all"),
            ValueError,
            "at least 1, \"adaptive\", or None for all tuples, got 'all'",
        ),
        (
            lambda: adaptive_tcmax_loss(
                product_head, FEATURES, LABELS, jax.random.key(0), target_error=0
            ),
            ValueError,
            "target_error to be a positive number, got 0",
        ),
        (
            lambda: tcmax_loss(MultilinearHead(lambda z: z), FEATURES, LABELS),
            TypeError,
            r"project to return Projections\(factors, modality_logits, kernel\), got dict",
        ),
        (
            lambda: tcmax_loss(
                MultilinearHead(lambda z: Projections({"m0": z["m0"]}, {}, np.eye(3))),
                FEATURES,
                LABELS,
            ),
            ValueError,
            r"factors of the modalities \['m0', 'm1'\].*got factors of \['m0'\]",
        ),
        (
            lambda: tcmax_loss(
                MultilinearHead(lambda z: Projections(z, {}, np.ones((4, 3)))), FEATURES, LABELS
            ),
            ValueError,
            r"factors\['m0'\] of shape \[batch, 4\] .* \(4, 3\), got shape \(5, 3\)",
        ),
        (
            lambda: sampled(num_negatives=2.5),
            ValueError,
            "Sampled negatives to be a whole .*got 2.5",
        ),
        (
            lambda: tcmax_loss(product_head, FEATURES, LABELS, negatives=Sampled(4, None)),
            ValueError,
            "PRNG key to draw negatives with, got None",
        ),
        (
            lambda: tcmax_loss(product_head, FEATURES, LABELS, negatives=4),
            TypeError,
            r"Sampled\(number, key\) or Adaptive\(key\), got 4",
        ),
    ],
)
def test_refusals_of_one_form(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_masked_rows_may_hold_any_label():
    where = np.array([True, True, True, True, False])
    labels = np.array([0, 1, 2, 0, -1])
    assert np.all(np.isfinite(additive(labels=labels, where=where)))
