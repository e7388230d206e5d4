"""The exact forms against a brute-force loop: values, gradients, masks, priors, extremes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax.losses import (
    MultilinearHead,
    Projections,
    additive_tcmax_loss,
    masked_mean,
    tcmax_loss,
)
from tests.losses.reference import (
    ADDITIVE,
    PRODUCT,
    additive_head,
    brute_force,
    exhaustive_tcmax_loss,
    make_batch,
    numerical_gradient,
    product_head,
)

pytestmark = pytest.mark.usefixtures("strict")


def additive(features, labels, **options):
    return additive_tcmax_loss(features, labels, **options)


def exhaustive_additive(features, labels, **options):
    return exhaustive_tcmax_loss(additive_head, features, labels, chunk_size=7, **options)


def exhaustive_product(features, labels, **options):
    return exhaustive_tcmax_loss(product_head, features, labels, **options)


def exhaustive_product_in_blocks(features, labels, **options):
    return exhaustive_tcmax_loss(product_head, features, labels, chunk_size=4, **options)


def dispatched_additive(features, labels, **options):
    return tcmax_loss(ADDITIVE, features, labels, **options)


def dispatched_product(features, labels, **options):
    return tcmax_loss(product_head, features, labels, chunk_size=3, **options)


def dispatched_multilinear(features, labels, **options):
    return tcmax_loss(PRODUCT, features, labels, chunk_size=7, **options)


# (the loss, the head that the brute-force loop evaluates)
FORMS = [
    pytest.param(additive, additive_head, id="additive"),
    pytest.param(exhaustive_additive, additive_head, id="exhaustive-additive"),
    pytest.param(exhaustive_product, product_head, id="exhaustive-product"),
    pytest.param(exhaustive_product_in_blocks, product_head, id="exhaustive-product-blocks"),
    pytest.param(dispatched_additive, additive_head, id="tcmax_loss-additive"),
    pytest.param(dispatched_product, product_head, id="tcmax_loss-product"),
    pytest.param(dispatched_multilinear, product_head, id="tcmax_loss-multilinear"),
]
WHERE = {"where": np.array([True, False, True, True, False])}
# A mask changes the number of tuples, which depends on that of the modalities; priors do not.
OPTIONS = [
    pytest.param({}, 2, id="plain-2"),
    pytest.param(WHERE, 2, id="where-2"),
    pytest.param(WHERE, 3, id="where-3"),
    pytest.param({"label_prior": np.array([0.2, 0.5, 0.3])}, 3, id="prior-3"),
    pytest.param({"label_prior": np.array([0.6, 0.4, 0.0])}, 2, id="prior-with-zero-2"),
]


@pytest.mark.parametrize(("options", "modalities"), OPTIONS)
@pytest.mark.parametrize(("loss", "head"), FORMS)
def test_values_and_gradients_equal_brute_force(loss, head, options, modalities):
    features, labels = make_batch(0, batch_size=5 if modalities == 2 else 4, modalities=modalities)
    options = {k: v[: len(labels)] if k == "where" else v for k, v in options.items()}

    def mean_of_brute_force(x):
        losses = brute_force(head, features | {"m0": x}, labels, **options)
        return losses.sum() / (options["where"].sum() if "where" in options else len(labels))

    with jax.enable_x64(True):
        arrays = jax.tree.map(jnp.asarray, features)
        kwargs = jax.tree.map(jnp.asarray, options)

        def mean(x):
            losses = loss(arrays | {"m0": x}, jnp.asarray(labels), **kwargs)
            return masked_mean(losses, where=kwargs.get("where")), losses

        differentiate = jax.jit(jax.value_and_grad(mean, has_aux=True))
        (value, values), gradient = differentiate(arrays["m0"])
    np.testing.assert_allclose(values, brute_force(head, features, labels, **options), rtol=1e-12)
    np.testing.assert_allclose(value, mean_of_brute_force(features["m0"]), rtol=1e-12)
    expected = numerical_gradient(mean_of_brute_force, features["m0"])
    np.testing.assert_allclose(gradient, expected, atol=1e-8)


@pytest.mark.parametrize(("loss", "head"), FORMS)
def test_where_equals_dropping_the_rows_even_if_they_hold_nan(loss, head):
    features, labels = make_batch(1, batch_size=6, dtype=np.float32)
    where = np.array([True, True, False, True, False, True])
    spoiled = {m: np.where(where[:, None], z, np.float32(np.nan)) for m, z in features.items()}
    labels = np.where(where, labels, -1)

    def mean(features):
        return masked_mean(loss(features, labels, where=where), where=where)

    def mean_of_kept(features):
        return loss({m: z[where] for m, z in features.items()}, labels[where]).mean()

    value, gradient = jax.jit(jax.value_and_grad(mean))(spoiled)
    expected, expected_gradient = jax.jit(jax.value_and_grad(mean_of_kept))(features)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for m in features:
        np.testing.assert_allclose(gradient[m], expected_gradient[m], atol=1e-6)


@pytest.mark.parametrize(("loss", "head"), FORMS)
def test_no_valid_row_gives_zero_loss_and_zero_gradient(loss, head):
    features, labels = make_batch(2, dtype=np.float32)
    where = np.zeros(5, bool)
    mean = lambda z: masked_mean(loss(z, labels, where=where), where=where)
    value, gradient = jax.jit(jax.value_and_grad(mean))(features)
    assert value == 0
    assert all(np.all(g == 0) for g in gradient.values())


@pytest.mark.parametrize(("loss", "head"), FORMS)
def test_finite_at_extreme_logits(loss, head):
    signs, labels = make_batch(3, dtype=np.float32)
    # The product head squares the scale; either way the logits are near +-1e4.
    scale = np.float32(1e4 if head is additive_head else 1e2)
    features = {m: scale * np.sign(z) for m, z in signs.items()}
    values, gradient = jax.jit(jax.value_and_grad(lambda z: loss(z, labels).mean()))(features)
    expected = brute_force(head, jax.tree.map(np.float64, features), labels).mean()
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    assert all(np.all(np.isfinite(g)) for g in gradient.values())


@pytest.mark.parametrize(("loss", "head"), FORMS)
def test_half_precision_inputs_are_reduced_in_float32(loss, head):
    features, labels = make_batch(4, batch_size=8, scale=2)
    # Small whole numbers, so that the heads' own arithmetic is exact in bfloat16.
    features = {m: np.round(z).clip(-3, 3) for m, z in features.items()}
    values = loss({m: jnp.asarray(z, jnp.bfloat16) for m, z in features.items()}, labels)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, brute_force(head, features, labels), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("loss", "head"), FORMS)
def test_nan_and_infinity_are_not_hidden(loss, head):
    features, labels = make_batch(5, dtype=np.float32)
    mean = jax.jit(lambda features: loss(features, labels).mean())
    for bad in (np.nan, np.float32(np.inf)):
        features["m0"][2, 1] = bad
        assert not np.isfinite(mean(features))


@pytest.mark.parametrize(("loss", "head"), FORMS)
def test_impossible_label_inside_jit_is_nan_for_that_example_only(loss, head):
    features, labels = make_batch(6, dtype=np.float32)
    labels[3] = 3
    values = jax.jit(loss)(features, labels)
    np.testing.assert_array_equal(np.isnan(values), np.arange(5) == 3)


@pytest.mark.parametrize(
    ("dtype", "num_classes"), ((np.uint8, 309), (np.uint8, 256), (np.int8, 200))
)
def test_labels_of_a_narrow_type(dtype, num_classes):
    features, labels = make_batch(10, num_classes=num_classes, dtype=np.float32)
    labels %= 100
    narrow = jax.jit(additive_tcmax_loss)(features, labels.astype(dtype))
    np.testing.assert_array_equal(narrow, jax.jit(additive_tcmax_loss)(features, labels))
    assert np.all(np.isfinite(narrow))


def test_a_sequence_of_logits_is_as_good_as_a_mapping():
    features, labels = make_batch(7, modalities=3, dtype=np.float32)
    loss = jax.jit(additive_tcmax_loss)
    np.testing.assert_array_equal(loss(list(features.values()), labels), loss(features, labels))


def test_exhaustive_takes_features_of_any_rank():
    features, labels = make_batch(8, batch_size=4, num_classes=6, dtype=np.float32)
    folded = {m: z.reshape(4, 2, 3) for m, z in features.items()}
    loss = jax.jit(exhaustive_tcmax_loss, static_argnums=0)
    np.testing.assert_allclose(
        loss(lambda z: product_head(z).reshape(-1, 6), folded, labels),
        loss(product_head, features, labels),
        rtol=1e-6,
    )


# Fewer rows than classes, and more. Each two values of two of the three come together.
@pytest.mark.parametrize(
    ("batch_size", "chunk_size", "modalities"),
    [(2, 1, 2), (2, 4, 3), (2, 1000, 3), (5, 1, 3), (5, 4, 2), (5, 1000, 2)],
)
def test_multilinear_equals_exhaustive_in_value_and_gradient(batch_size, chunk_size, modalities):
    rng = np.random.default_rng(0)
    names, width, num_classes = [f"m{i}" for i in range(modalities)], 4, 3
    z = {m: rng.normal(size=(batch_size, 6)).astype(np.float32) for m in names}
    labels = rng.integers(0, num_classes, batch_size)
    shapes = {m: (6, width) for m in names} | {"kernel": (width, num_classes)}
    params = {m: rng.normal(size=shape).astype(np.float32) for m, shape in shapes.items()}

    def project(params, z):
        factors = {m: jax.nn.sigmoid(x @ params[m]) for m, x in z.items()}
        alone = {names[1]: z[names[1]] @ params[names[1]] @ params["kernel"]}
        return Projections(factors, alone, params["kernel"])

    def mean(params, z, as_function):
        head = MultilinearHead(lambda z: project(params, z))
        head = head.__call__ if as_function else head
        return exhaustive_tcmax_loss(head, z, labels, chunk_size=chunk_size).mean()

    differentiate = jax.jit(jax.value_and_grad(mean, argnums=(0, 1)), static_argnums=2)
    value, gradients = differentiate(params, z, False)
    expected, expected_gradients = differentiate(params, z, True)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for g, e in zip(*map(jax.tree.leaves, (gradients, expected_gradients)), strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-5, atol=1e-6)


def test_exhaustive_memory_does_not_hold_all_tuples():
    batch_size, num_classes = 64, 200
    features, labels = make_batch(
        9, batch_size=batch_size, num_classes=num_classes, dtype=np.float32
    )

    def mean(features):
        return exhaustive_tcmax_loss(product_head, features, labels, chunk_size=64).mean()

    compiled = jax.jit(jax.value_and_grad(mean)).lower(features).compile()
    all_tuples = batch_size**2 * num_classes * 4
    assert compiled.memory_analysis().temp_size_in_bytes < all_tuples / 4
