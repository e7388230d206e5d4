"""Marginals of a head against loops over every tuple of the bank, and what they promise."""

import functools
import itertools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.special import logsumexp

from tcmax_jax.losses import AdditiveHead, MultilinearHead, Projections, marginal_logits
from tests.losses.reference import ADDITIVE, PRODUCT, additive_head, make_batch, product_head
from tests.losses.test_guarantees import COUNTS, P_A, P_V, P_Y, P_Y_GIVEN_Z, P, toy

WHERE = np.array([True, False, True, True, False])


def brute_force(head, features, bank, known, *, normalize=False, where=None):
    """Returns [N, C] marginals by a Python loop over every tuple of the bank's rows."""
    names = sorted(bank)
    rows = range(len(bank[names[0]])) if where is None else np.flatnonzero(where)
    missing = [m for m in names if m not in known]
    found = []
    for i in range(len(features[known[0]])):
        terms = []
        for chosen in itertools.product(rows, repeat=len(missing)):
            one = {m: np.float64(features[m][i])[None] for m in known}
            one |= {m: np.float64(bank[m][j])[None] for m, j in zip(missing, chosen, strict=True)}
            scores = np.asarray(head(one), np.float64)[0]
            terms.append(scores - logsumexp(scores) if normalize else scores)
        found.append(logsumexp(terms, axis=0) - np.log(len(terms)))
    return np.stack(found)


def compiled(head, features, bank, known, **options):
    """Returns `marginal_logits` compiled as a whole: by single operations it takes far longer."""
    marginal = functools.partial(marginal_logits, head, known=known, **options)
    return jax.jit(lambda features, bank: marginal(features, bank))(features, bank)


def subsets(names):
    return [k for size in range(1, len(names) + 1) for k in itertools.combinations(names, size)]


def spoiled(bank):
    """Returns the bank with numbers in the rows that WHERE masks that would be seen."""
    return {m: np.where(WHERE[:, None], z, np.nan) for m, z in bank.items()}


HEADS = pytest.mark.parametrize(
    "head", [ADDITIVE, PRODUCT, product_head], ids=["sum", "product", "any"]
)


@pytest.mark.parametrize(("modalities", "normalize"), [(2, False), (3, False), (3, True)])
@HEADS
def test_every_subset_equals_a_loop_over_the_bank(head, modalities, normalize, strict):
    features, _ = make_batch(0, batch_size=4, modalities=modalities, dtype=np.float32)
    bank, _ = make_batch(1, modalities=modalities, dtype=np.float32)
    slow = additive_head if head is ADDITIVE else product_head
    for known in subsets(sorted(bank)):
        # Modalities that are missing need not be there.
        given = {m: features[m] for m in known}
        got = compiled(head, given, bank, known, normalize=normalize)
        expected = brute_force(slow, features, bank, known, normalize=normalize)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@HEADS
@pytest.mark.parametrize("normalize", [False, True])
def test_masked_rows_of_the_bank_are_not_seen(head, normalize):
    features, _ = make_batch(0, batch_size=4, modalities=3, dtype=np.float32)
    bank, _ = make_batch(1, modalities=3, dtype=np.float32)
    spoiled = {m: np.where(WHERE[:, None], z, np.nan) for m, z in bank.items()}
    options = {"normalize": normalize, "where": WHERE}
    slow = additive_head if head is ADDITIVE else product_head
    got = compiled(head, features, spoiled, ["m1"], **options)
    expected = brute_force(slow, features, bank, ["m1"], **options)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk_size", [1, 3, 8, 80])
def test_blocks_of_any_size_give_the_same(chunk_size):
    features, _ = make_batch(0, batch_size=4, modalities=3, dtype=np.float32)
    bank, _ = make_batch(1, modalities=3, dtype=np.float32)
    for head in (PRODUCT, product_head):
        got = compiled(head, features, bank, ["m1"], chunk_size=chunk_size)
        expected = brute_force(product_head, features, bank, ["m1"])
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("max_tuples", [3, 10])
def test_fewer_tuples_use_the_rows_equally_often(max_tuples):
    """The logits count the rows: exp F is one where the class is the row of a modality."""
    bank = {m: np.eye(5, dtype=np.float32) for m in ("a", "v", "x")}
    features = {"x": np.zeros((2, 5), np.float32)}

    def counts(z):
        return jnp.log(jnp.concatenate([z["a"], z["v"]], axis=1))

    got = np.exp(marginal_logits(counts, features, bank, ["x"], max_tuples=max_tuples))
    often = max_tuples * got.reshape(2, 2, 5)
    assert np.all(np.abs(often - max_tuples / 5) < 1)
    np.testing.assert_allclose(often.sum(-1), max_tuples, rtol=1e-5)
    again = np.exp(marginal_logits(counts, features, bank, ["x"], max_tuples=max_tuples))
    np.testing.assert_array_equal(got, again)
    # Two valid rows have four tuples, fewer than are asked for: each counts once.
    where = np.array([False, True, False, True, False])
    got = np.exp(
        marginal_logits(counts, features, bank, ["x"], max_tuples=max(max_tuples, 4), where=where)
    )
    np.testing.assert_allclose(got.reshape(2, 2, 5), np.broadcast_to(where / 2, (2, 2, 5)), 1e-5)


FEATURES, _ = make_batch(2, batch_size=4, modalities=3, dtype=np.float32)
BANK, _ = make_batch(3, modalities=3, dtype=np.float32)


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    offsets=st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3),
    parts=st.permutations(["m0", "m1", "m2"]),
    known=st.sampled_from(subsets(["m0", "m1", "m2"])),
    normalize=st.booleans(),
)
def test_offsets_added_to_one_part_and_taken_from_another_change_nothing(
    offsets, parts, known, normalize
):
    first, second, _ = parts
    offsets = jnp.float32(offsets)[None]
    moved = AdditiveHead(lambda z: {**z, first: z[first] + offsets, second: z[second] - offsets})
    np.testing.assert_allclose(
        marginal_logits(moved, FEATURES, BANK, known, normalize=normalize),
        marginal_logits(ADDITIVE, FEATURES, BANK, known, normalize=normalize),
        atol=1e-4,
    )


def test_normalised_marginals_do_not_see_a_constant_of_each_example():
    """What cross-entropy leaves open: F plus any function of the features."""
    moved = lambda z: product_head(z) + 3 * jnp.sum(z["m0"] * z["m1"], axis=1, keepdims=True)
    for known in (["m0"], ["m0", "m2"]):
        got = marginal_logits(moved, FEATURES, BANK, known, normalize=True)
        expected = marginal_logits(product_head, FEATURES, BANK, known, normalize=True)
        np.testing.assert_allclose(got, expected, atol=1e-5)
        np.testing.assert_allclose(np.exp(got).sum(axis=1), 1, rtol=1e-5)
        by_ratio = [marginal_logits(h, FEATURES, BANK, known) for h in (moved, product_head)]
        p, q = (np.asarray(jax.nn.softmax(x)) for x in by_ratio)
        assert np.abs(p - q).max() > 0.05  # which a density ratio does see


@pytest.mark.parametrize("prior", [np.full(2, 0.5), P_Y], ids=["uniform", "empirical"])
def test_at_the_optimum_of_tcmax_it_is_the_posterior(prior):
    bank, labels = toy()
    ratio = P / (P_A[:, None, None] * P_V[:, None] * prior)
    table = np.log(ratio) + 0.7  # up to a constant, which the loss cannot see
    head = lambda z: jnp.einsum("na,nv,avy->ny", z["a"], z["v"], table)
    expected = {("a",): P.sum(1), ("v",): P.sum(0)}
    for (m,), joint in expected.items():
        got = compiled(head, {m: np.eye(len(joint))}, bank, [m]) + np.log(prior)[None]
        posterior = joint / joint.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(jax.nn.softmax(got), posterior, rtol=1e-5)
    got = compiled(head, bank, bank, ["a", "v"]) + np.log(prior)[None]
    a, v = bank["a"].argmax(1), bank["v"].argmax(1)
    np.testing.assert_allclose(jax.nn.softmax(got), P_Y_GIVEN_Z[a, v], rtol=1e-5)
    assert COUNTS.sum() == len(labels)


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
@pytest.mark.parametrize("normalize", [False, True])
@HEADS
def test_large_logits_stay_finite(head, normalize, dtype):
    size = 2.0**14 if head is ADDITIVE else 2.0**7  # a product of two of them is one of 2^14
    rng = np.random.default_rng(0)
    draw = lambda n: jnp.asarray(rng.choice([-size, size], (n, 3)), dtype)
    features, bank = ({m: draw(n) for m in ("m0", "m1")} for n in (4, 5))
    slow = additive_head if head is ADDITIVE else product_head
    got = compiled(head, features, bank, ["m0"], normalize=normalize)
    assert got.dtype == jnp.float32
    expected = brute_force(slow, features, bank, ["m0"], normalize=normalize)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=5e-3)  # the last digits of 2^14


def test_sums_over_a_bank_in_bfloat16_are_made_in_float32():
    bank = {m: jnp.zeros((1000, 2), jnp.bfloat16) for m in ("m0", "m1")}
    features = {"m0": jnp.zeros((1, 2), jnp.bfloat16)}
    for head in (ADDITIVE, PRODUCT):
        # In bfloat16 a sum of ones stops at 256.
        np.testing.assert_allclose(marginal_logits(head, features, bank, ["m0"]), 0, atol=1e-5)


def test_it_is_compiled_and_differentiated_with_the_head_inside():
    w = np.float32(np.random.default_rng(0).normal(size=(3, 3)))
    shared = {"known": ("m0",), "normalize": True}

    def first(w, kind):
        heads = {
            "sum": AdditiveHead(lambda z: {m: x @ w for m, x in z.items()}),
            "product": MultilinearHead(lambda z: Projections(z, {}, w)),
            "any": lambda z: (z["m0"] * z["m1"] * z["m2"]) @ w,
        }
        return marginal_logits(heads[kind], FEATURES, BANK, **shared)[0, 1]

    of_first = jax.jit(jax.value_and_grad(first), static_argnums=1)
    values = [of_first(w, kind) for kind in ("product", "any")]
    np.testing.assert_allclose(values[0][0], values[1][0], rtol=1e-5)
    np.testing.assert_allclose(values[0][1], values[1][1], rtol=1e-4, atol=1e-6)
    value, gradient = of_first(w, "sum")
    step = 1e-2 * np.sign(gradient)
    expected = (first(w + step, "sum") - first(w - step, "sum")) / 2
    np.testing.assert_allclose(np.sum(gradient * step), expected, rtol=1e-2)
    np.testing.assert_allclose(value, first(w, "sum"), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"known": "m0"}, TypeError, r"known as a sequence of modalities, got 'm0'\. Write"),
        ({"known": ()}, ValueError, r"one or more of .*\['m0', 'm1', 'm2'\].* got \[\]"),
        ({"known": ["lips"]}, ValueError, r"features and bank both have, got \['lips'\]"),
        ({"features": {"m0": np.ones((4, 2))}}, ValueError, r"\[batch, 3\], as in the bank, got"),
        ({"bank": {"m0": BANK["m0"]}}, ValueError, r"at least two modalities"),
        ({"where": np.ones(5)}, TypeError, r"boolean mask `where`"),
        ({"where": np.zeros(5, bool)}, ValueError, r"Expected a bank with a row .*Take another"),
        ({"max_tuples": 0}, ValueError, r"Expected max_tuples to be a whole number"),
        ({"chunk_size": 0}, ValueError, r"Expected chunk_size to be a whole number"),
        ({"head": lambda z: z["m0"][:, 0]}, ValueError, r"the head to return logits of shape"),
    ],
)  # fmt: skip
def test_refusals(options, error, message):
    arguments = {"head": product_head, "features": FEATURES, "bank": BANK, "known": ["m0"]}
    with pytest.raises(error, match=message):
        marginal_logits(**(arguments | options))
