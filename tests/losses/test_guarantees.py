"""What the objective promises: its minimum, its ceiling, its invariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from tcmax_jax.losses import (
    Adaptive,
    AdditiveHead,
    Sampled,
    sampled_tcmax_ceiling,
    tcmax_ceiling,
    tcmax_loss,
    tcmax_terms,
)
from tests.losses.reference import (
    ADDITIVE,
    PRODUCT,
    exhaustive_tcmax_loss,
    make_batch,
    product_head,
)

# Compiled once for each head and form of a batch; by single operations it takes far longer.
compiled_loss = jax.jit(tcmax_loss, static_argnums=0)
compiled_terms = jax.jit(tcmax_terms, static_argnums=0)

# How often each (a, v, y) occurs: labels are uneven, a and v depend on each other and on y.
COUNTS = np.array([[[4, 1], [1, 2], [2, 1]], [[1, 1], [3, 1], [1, 6]]])


def toy():
    """Returns a batch whose empirical distribution is COUNTS / 24, features one-hot."""
    a, v, y = np.repeat(np.argwhere(COUNTS > -1), COUNTS.ravel(), axis=0).T
    return {"a": np.eye(2)[a], "v": np.eye(3)[v]}, y


def minimise(label_prior):
    """Returns (least mean loss, its table F[a, v, y]) over all tables, by L-BFGS in float64."""
    features, labels = toy()

    def mean(table):
        head = lambda z: jnp.einsum("na,nv,avy->ny", z["a"], z["v"], table.reshape(2, 3, 2))
        return exhaustive_tcmax_loss(head, features, labels, label_prior=label_prior).mean()

    with jax.enable_x64(True):
        function = jax.jit(jax.value_and_grad(mean))
        found = scipy.optimize.minimize(
            lambda t: jax.tree.map(np.asarray, function(t)), np.zeros(12), jac=True, tol=1e-12
        )
    return found.fun, found.x.reshape(2, 3, 2)


def entropy(p):
    return -np.sum(p * np.log(p))


P = COUNTS / COUNTS.sum()
P_A, P_V, P_Y = P.sum((1, 2)), P.sum((0, 2)), P.sum((0, 1))
TC = entropy(P_A) + entropy(P_V) + entropy(P_Y) - entropy(P)
P_Y_GIVEN_Z = P / P.sum(axis=2, keepdims=True)


def normalised(weights):
    return weights / weights.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("prior", ["uniform", "empirical"])
def test_the_minimum_is_the_total_correlation_and_its_head_the_density_ratio(prior):
    q = P_Y if prior == "empirical" else np.full(2, 0.5)
    least, table = minimise(None if prior == "uniform" else q)
    divergence = np.sum(P_Y * np.log(P_Y / q))
    np.testing.assert_allclose(-least, TC + divergence, rtol=1e-6)
    weights = q * np.exp(table)
    # softmax(F + log q) is p(y | a, v): with the uniform measure plain softmax predicts.
    np.testing.assert_allclose(normalised(weights), P_Y_GIVEN_Z, atol=1e-4)
    # exp F is p(a, v, y) / (p(a) p(v) q(y)), up to the constant that the loss cannot see.
    ratio = P / (P_A[:, None, None] * P_V[:, None] * q)
    constant = np.exp(table) / ratio
    np.testing.assert_allclose(constant, constant.mean(), rtol=1e-3)
    # Averaged over the other modality's marginal it is each modality's own posterior.
    by_audio = np.einsum("avy,v->ay", weights, P_V)
    np.testing.assert_allclose(normalised(by_audio), normalised(P.sum(axis=1)), atol=1e-4)
    by_visual = np.einsum("avy,a->vy", weights, P_A)
    np.testing.assert_allclose(normalised(by_visual), normalised(P.sum(axis=0)), atol=1e-4)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("scale", [0.1, 3.0, 1e3])
def test_the_bound_never_exceeds_its_ceiling(scale, modalities):
    """-loss <= log(B^(M - 1) C): the B true pairs are among the B^M C that are averaged over."""
    features, labels = make_batch(0, modalities=modalities, scale=scale, dtype=np.float32)
    ceiling = np.log(5.0 ** (modalities - 1) * 3)
    for head in (ADDITIVE, PRODUCT, product_head):
        assert -compiled_loss(head, features, labels).mean() <= ceiling + 1e-3 * scale


@pytest.mark.parametrize("prior", [None, np.float32([0.2, 0.5, 0.3])])
@pytest.mark.parametrize("modalities", [2, 3])
def test_a_head_that_knows_the_batch_reaches_the_ceiling(modalities, prior):
    """In general (M - 1) log B - mean log q(y_i), with equality where the true q exp F are even."""
    names, labels = [f"m{i}" for i in range(modalities)], np.array([0, 1, 2, 0, 1])
    features = {m: np.eye(5, dtype=np.float32) for m in names}
    q = np.full(3, 1 / 3) if prior is None else prior

    def knows_the_batch(z):
        together = sum(z.values()) >= modalities  # [N, 5], the example that a tuple consists of
        target = jax.nn.one_hot(labels, 3)
        return jnp.where(together @ target > 0, 0.0, -50.0) - jnp.log(q)[None]

    bound = -compiled_loss(knows_the_batch, features, labels, label_prior=prior).mean()
    ceiling = (modalities - 1) * np.log(5) - np.mean(np.log(q[labels]))
    np.testing.assert_allclose(bound, ceiling, rtol=1e-5)
    stated = tcmax_ceiling(labels, modalities, 3, label_prior=prior)
    np.testing.assert_allclose(stated, ceiling, rtol=1e-6)


def test_the_ceiling_counts_valid_rows_only():
    labels, where = np.array([0, 1, -1, 2]), np.array([True, True, False, True])
    stated = tcmax_ceiling(labels, 3, 3, where=where)
    np.testing.assert_allclose(stated, np.log(3**2 * 3), rtol=1e-6)


def memorised(scale, batch_size=32, num_classes=4):
    """Returns (head, features, labels): the head scores true tuples by `scale`, all others by 0."""
    labels = np.arange(batch_size) % num_classes
    features = {m: np.eye(batch_size, dtype=np.float32) for m in ("a", "v")}
    table = scale * jax.nn.one_hot(labels, num_classes)
    return lambda z: (z["a"] * z["v"]) @ table, features, labels


@functools.partial(jax.jit, static_argnums=1)
def bounds_by_memory(scale, num_negatives):
    """Returns (bounds, stated ceilings, log-partitions) of 40 draws, and the exact loss."""
    head, features, labels = memorised(scale)

    def bound(key):
        negatives = Adaptive(key) if num_negatives == "adaptive" else Sampled(num_negatives, key)
        terms = tcmax_terms(head, features, labels, negatives=negatives)
        stated = sampled_tcmax_ceiling(head(features), labels, terms.log_partition, 2)
        return -terms.loss.mean(), stated, terms.log_partition

    draws = jax.vmap(bound)(jax.random.split(jax.random.key(0), 40))
    return draws, tcmax_loss(head, features, labels).mean()


@pytest.mark.parametrize("scale", [1.0, 5.0, 10.0, 80.0])
@pytest.mark.parametrize("num_negatives", [64, "adaptive"])
def test_sampled_tuples_have_a_ceiling_that_knows_the_true_ones(num_negatives, scale):
    (bounds, stated, log_partitions), exact = jax.device_get(bounds_by_memory(scale, num_negatives))
    labels = memorised(scale)[-1]
    assert np.all(stated >= bounds)
    # No less is left than of the exact loss, whether or not true tuples were drawn.
    left = tcmax_ceiling(labels, 2, 4) + exact
    assert np.all(stated - bounds > 0.99 * left - 1e-4)
    # With few tuples and a head that has learnt the true ones by heart, the other one is exceeded.
    exceeded = np.mean(bounds > tcmax_ceiling(labels, 2, 4) + 1e-3)
    assert (exceeded > 0.05) == (num_negatives == 64 and scale >= 10)
    # True tuples in full: 32 of the 32^2 tuples, each with one class of four scored.
    true = np.log((np.exp(np.float64(scale)) + 3) / 4 / 32)
    expected = np.log(32 * 4) + np.logaddexp(0, true - log_partitions)
    np.testing.assert_allclose(stated, expected, rtol=1e-5)


compiled_ceiling = jax.jit(sampled_tcmax_ceiling, static_argnums=3)


@pytest.mark.parametrize("prior", [None, np.float32([0.2, 0.5, 0.3])])
@pytest.mark.parametrize("scale", [0.1, 1.0, 2.0])
def test_the_sampled_ceiling_holds_on_random_heads_with_masks_and_priors(prior, scale):
    where = np.array([True, True, False, True, True, True])
    for seed in range(5):
        features, labels = make_batch(
            seed, batch_size=6, modalities=3, scale=scale, dtype=np.float32
        )
        features["m0"][2] = np.nan
        shared = {"label_prior": prior, "where": where}
        terms = compiled_terms(
            product_head, features, labels, negatives=Sampled(4, jax.random.key(seed)), **shared
        )
        logits = product_head(features)
        stated = compiled_ceiling(logits, labels, terms.log_partition, 3, **shared)
        assert -np.mean(terms.loss[where]) < stated
        q = np.full(3, 1 / 3) if prior is None else np.float64(prior)
        ours = np.log(np.sum(q * np.exp(np.float64(logits[where])))) - 3 * np.log(5)
        plain = 2 * np.log(5) - np.mean(np.log(q[labels[where]]))
        expected = plain + np.logaddexp(ours, terms.log_partition) - terms.log_partition
        np.testing.assert_allclose(stated, expected, rtol=1e-5)


def test_the_sampled_ceiling_of_no_valid_row_is_a_number():
    none = np.zeros(2, bool)
    stated = sampled_tcmax_ceiling(jnp.ones((2, 3)), np.zeros(2, int), -jnp.inf, 2, where=none)
    assert np.isfinite(stated)


@pytest.mark.parametrize("head", [ADDITIVE, PRODUCT, product_head])
def test_invariances(head):
    features, labels = make_batch(1, modalities=3, dtype=np.float32)
    losses = compiled_loss(head, features, labels)
    order = np.array([3, 0, 4, 1, 2])
    shuffled = {m: z[order] for m, z in features.items()}
    np.testing.assert_allclose(
        compiled_loss(head, shuffled, labels[order]), losses[order], rtol=1e-4, atol=1e-6
    )
    renamed = {"m0": features["m2"], "m1": features["m0"], "m2": features["m1"]}
    np.testing.assert_allclose(
        compiled_loss(head, renamed, labels), losses, rtol=1e-4, atol=1e-6
    )  # these heads treat all modalities alike


def test_a_constant_added_to_all_logits_changes_nothing():
    features, labels = make_batch(2, dtype=np.float32)
    shifted = lambda z: product_head(z) + 7
    np.testing.assert_allclose(
        compiled_loss(shifted, features, labels),
        compiled_loss(product_head, features, labels),
        atol=1e-5,
    )
    gradient = jax.grad(lambda c: tcmax_loss(lambda z: product_head(z) + c, features, labels)[0])
    np.testing.assert_allclose(jax.jit(gradient)(1.0), 0, atol=1e-6)


def test_a_batch_repeated_has_the_same_loss_and_the_same_gradient():
    """So the scale of the gradient does not depend on the size of the batch."""
    features, labels = make_batch(3, dtype=np.float32)
    w = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)

    def mean(w, times):
        head = AdditiveHead(lambda z: {m: jnp.asarray(x) @ w for m, x in z.items()})
        repeated = {m: np.tile(z, (times, 1)) for m, z in features.items()}
        return tcmax_loss(head, repeated, np.tile(labels, times)).mean()

    differentiate = jax.jit(jax.value_and_grad(mean), static_argnums=1)
    value, gradient = differentiate(w, 1)
    for times in (2, 5):
        again, gradient_again = differentiate(w, times)
        np.testing.assert_allclose(again, value, rtol=1e-5)
        np.testing.assert_allclose(gradient_again, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("head", [ADDITIVE, PRODUCT, product_head])
def test_effective_sample_size(head, modalities):
    features, labels = make_batch(4, batch_size=4, modalities=modalities, dtype=np.float32)
    grid = np.stack(np.meshgrid(*[np.arange(4)] * modalities), -1).reshape(-1, modalities)
    tuples = {m: z[grid[:, i]] for i, (m, z) in enumerate(features.items())}
    w = np.exp(np.float64(head(tuples)))
    terms = compiled_terms(head, features, labels)
    np.testing.assert_allclose(terms.effective_sample_size, w.sum() ** 2 / (w**2).sum(), rtol=1e-4)
    np.testing.assert_allclose(terms.log_partition, np.log(w.mean()), rtol=1e-4, atol=1e-6)
    assert terms.tuples == len(grid)
    assert terms.standard_error == 0
    flat = compiled_terms(head, {m: 0 * z for m, z in features.items()}, labels)
    np.testing.assert_allclose(flat.effective_sample_size, w.size, rtol=1e-5)


def test_stated_error_of_independent_draws():
    features, labels = make_batch(5, batch_size=16, dtype=np.float32)
    of_key = lambda key: tcmax_terms(
        product_head, features, labels, negatives=Sampled(400, key, stratified=False)
    )
    terms = jax.jit(jax.vmap(of_key))(jax.random.split(jax.random.key(0), 500))
    stated = np.sqrt(np.mean(np.asarray(terms.standard_error) ** 2))
    np.testing.assert_allclose(stated, np.std(terms.log_partition), rtol=0.15)
