"""Total correlation: tuples, the exact sum over them, and ways through mutual information."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tcmax_jax.estimators import (
    AdditiveCritic,
    JointCritic,
    donsker_varadhan,
    evaluate,
    ground_truth,
    line_splits,
    make_estimator,
    mutual_information,
    tcne,
    tree_splits,
)
from tcmax_jax.estimators.bounds import log_mean_exp
from tcmax_jax.estimators.total_correlation import (
    log_mean_exp_of_all,
    shuffled_tuples,
    tuple_weights,
)
from tests.models.random_params import randomised

# By single operations drawing tuples takes far longer.
drawn = jax.jit(shuffled_tuples, static_argnums=(1, 2, 3))
TABLE = np.array([[[0.3, 0.05], [0.05, 0.1]], [[0.05, 0.1], [0.05, 0.3]]])


def test_tuples_take_each_row_equally_often_and_none_twice():
    tuples = np.asarray(drawn(jax.random.key(0), 60, 3, 6))
    assert tuples.shape == (60, 3)
    assert all(len(set(t)) == 3 for t in tuples)
    for one_pass in tuples.reshape(10, 6, 3):
        assert np.all(np.sort(one_pass, axis=0) == np.arange(6)[:, None])
    assert len(drawn(jax.random.key(0), 1000, 3, 6)) == 6 * 5 * 4


def test_tuples_are_uniform_over_those_of_different_rows():
    draw = jax.jit(jax.vmap(lambda key: shuffled_tuples(key, 8, 3, 4)))
    tuples = np.asarray(draw(jax.random.split(jax.random.key(1), 3000))).reshape(-1, 3)
    _, counts = np.unique(tuples, axis=0, return_counts=True)
    assert len(counts) == 24
    # Tuples of one pass depend on each other; six standard deviations of independent ones.
    assert np.all(np.abs(counts - 1000) < 6 * np.sqrt(1000))


def test_tuples_within_labels_share_one_label_and_avoid_their_first_row():
    labels = np.array([0, 3, 0, 1, 3, 3, 0, 0])
    tuples = np.asarray(drawn(jax.random.key(0), 400, 3, 8, labels))
    of_label = labels[tuples]
    assert np.all(of_label == of_label[:, :1])
    alone = tuples[:, 0] == 3  # the only row with label 1
    assert np.all(tuples[alone] == 3)
    assert np.all(tuples[~alone, 1:] != tuples[~alone, :1])
    for row in (0, 1):
        partners = set(tuples[tuples[:, 0] == row][:, 1])
        assert partners == set(np.flatnonzero(labels == labels[row])) - {row}


def test_all_pairs_of_two_variables_come_once():
    pairs = np.asarray(drawn(jax.random.key(0), 20, 2, 5))
    assert {tuple(p) for p in pairs} == set(itertools.permutations(range(5), 2))


def test_weights_of_tuples_are_products():
    weights, tuples = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([[0, 1], [2, 3]])
    np.testing.assert_allclose(tuple_weights(weights, tuples), [2, 12])
    # p(y) p(z_1 | y) p(z_2 | y): the rows 2 and 3 with label 1 weigh 3.5 on average.
    labels = jnp.array([0, 0, 1, 1])
    within = tuple_weights(weights, tuples, labels)
    np.testing.assert_allclose(within, [1 * 2 / 1.5, 3 * 4 / 3.5], rtol=1e-6)


@pytest.mark.parametrize(("num_variables", "batch_size"), [(2, 5), (3, 5), (4, 5)])
def test_the_sum_over_all_tuples_equals_brute_force(num_variables, batch_size):
    rng = np.random.default_rng(num_variables)
    names = tuple("abcd"[:num_variables])
    critic = AdditiveCritic(names, (4,), 3)
    samples = {m: rng.normal(size=(batch_size, 2)).astype(np.float32) for m in names}
    apply = jax.jit(critic.apply, static_argnames="method")
    params = randomised(jax.eval_shape(critic.init, jax.random.key(0), samples))
    embeddings = jax.device_get(apply(params, samples, method="embed"))
    own, pairs = apply(params, embeddings, method="pair_scores")
    of_all, of_tuples = jax.jit(log_mean_exp_of_all), jax.jit(log_mean_exp)
    tuples = np.array(list(itertools.permutations(range(batch_size), num_variables)))
    picked = {m: embeddings[m][tuples[:, i]] for i, m in enumerate(names)}
    scores = apply(params, picked, method="score")
    np.testing.assert_allclose(of_all(own, pairs), of_tuples(scores), rtol=1e-5)
    weights = rng.uniform(0.5, 1.5, batch_size).astype(np.float32)
    np.testing.assert_allclose(
        of_all(own, pairs, weights),
        of_tuples(scores, tuple_weights(weights, tuples)),
        rtol=1e-5,
    )


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_the_sum_over_all_tuples_stays_finite(scale):
    rng = np.random.default_rng(0)
    own, pairs = scale * rng.normal(size=(3, 5)), scale * rng.normal(size=(3, 5, 5))
    differentiate = jax.jit(jax.value_and_grad(log_mean_exp_of_all, argnums=(0, 1)))
    value, gradient = differentiate(own.astype(np.float32), pairs.astype(np.float32))
    scores = [
        sum(own[m, t[m]] for m in range(3))
        + sum(x[t[i], t[j]] for x, (i, j) in zip(pairs, [(0, 1), (0, 2), (1, 2)], strict=True))
        for t in itertools.permutations(range(5), 3)
    ]
    assert value >= np.logaddexp.reduce(scores) - np.log(60) - 1e-5 * scale
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(g)) for g in gradient)


def test_free_table_critic_attains_the_closed_form():
    joint = TABLE.reshape(-1).astype(np.float32)
    marginals = [TABLE.sum(axis) for axis in ((1, 2), (0, 2), (0, 1))]
    product = np.einsum("a,b,c->abc", *marginals).reshape(-1).astype(np.float32)
    truth = ground_truth.table_total_correlation(TABLE)

    @jax.jit
    def bound(table):
        return tcne(table, table, with_true=False, joint_weights=joint, product_weights=product)

    table = np.zeros(8, np.float32)
    assert bound(table) == 0
    ascend = jax.jit(lambda table: table + jax.grad(bound)(table))
    for _ in range(400):
        table = ascend(table)
    np.testing.assert_allclose(bound(table), truth, atol=1e-5)
    # The optimum is the log ratio, up to a constant.
    offset = table - np.log(joint / product)
    np.testing.assert_allclose(offset, np.full(8, offset[0]), atol=1e-2)


def test_lines_and_trees_of_exact_informations_add_up():
    """Closed-form informations of groups of a table of five binary variables."""
    table = np.random.default_rng(0).dirichlet(np.ones(32)).reshape((2,) * 5)

    def information(left, right):
        kept = table.sum(tuple(set(range(5)) - {*left, *right}), keepdims=True)
        order = (*left, *right, *sorted(set(range(5)) - {*left, *right}))
        flat = kept.transpose(order).reshape(2 ** len(left), 2 ** len(right))
        return ground_truth.table_total_correlation(flat)

    truth = ground_truth.table_total_correlation(table)
    for splits in (line_splits, tree_splits):
        np.testing.assert_allclose(sum(information(*s) for s in splits(range(5))), truth)
    assert len(tree_splits(range(5))) == 4
    assert max(len(left) for left, _ in tree_splits(range(8))) == 4


class LogRatio(nn.Module):
    """The exact log p(left, right) - log p(left) p(right) of equicorrelated Gaussians."""

    names: tuple[str, ...]
    rho: float
    left: int | None

    def embed(self, samples):
        return samples

    def score(self, embeddings):
        x = jnp.broadcast_arrays(*(embeddings[m] for m in self.names))
        if self.left is None:
            return self.ratio(x)
        return self.ratio(x) - self.ratio(x[: self.left]) - self.ratio(x[self.left :])

    def ratio(self, x):
        """log p(x) - sum_m log p(x_m), from the eigenvalues of the covariance."""
        n = len(x)
        along, across = 1 + (n - 1) * self.rho, 1 - self.rho
        total, squares = sum(x), sum(v**2 for v in x)
        form = (squares - total**2 / n) / across + total**2 / n / along - squares
        logs = math.log(along) + (n - 1) * math.log(across)
        return -0.5 * jnp.sum(form + logs, axis=-1)

    def __call__(self, samples):
        return self.score(samples)


@pytest.mark.parametrize("name", ["tcne", "tcne_dv", "line_dv", "tree_dv", "line_nwj"])
def test_direct_line_and_tree_meet_the_truth_with_the_exact_critic(name):
    truth = ground_truth.equicorrelated_gaussians(1.0, num_variables=4, dim=2)
    rho = ground_truth.solve_correlation(1.0, 4, 2)
    samples = truth.sample(jax.random.key(3), 1200)

    def critic(names):
        left = {"tcne": None, "line": len(names) - 1, "tree": len(names) // 2}[name[:4]]
        # NWJ is tight at the log ratio plus 1, which js_nwj adds.
        return LogRatio(tuple(names), rho, left)

    estimator = make_estimator(
        name.replace("line_nwj", "line_js_nwj"), tuple(samples), critic=critic
    )
    params = {} if name.startswith("tcne") else ({},) * 3
    estimate = evaluate(estimator, params, samples, jax.random.key(0), block_size=300)
    assert abs(estimate.value - 1) < 4 * estimate.standard_error
    assert estimate.standard_error < 0.1


def test_standard_error_is_the_spread_over_fresh_examples():
    rho = ground_truth.solve_correlation(1.0, 3, 2)
    critic = lambda names: LogRatio(tuple(names), rho, None)
    estimator = make_estimator("tcne", ("x1", "x2", "x3"), num_negatives=2000, critic=critic)
    sample = lambda key: ground_truth.sample_equicorrelated(key, 100, rho, num_variables=3, dim=2)
    estimates = [
        evaluate(estimator, {}, sample(jax.random.key(i)), jax.random.key(i)) for i in range(100)
    ]
    spread = np.std([e.value for e in estimates])
    stated = np.mean([e.standard_error for e in estimates])
    # The spread of 100 values is itself known to 7 %.
    assert 0.75 < stated / spread < 1.3


def test_conditional_tuples_leave_what_the_label_explains():
    """z_1 = z_2 = y: one nat of TC(z), none of it given y, whatever the critic says."""
    labels = np.array([0, 1] * 8)
    values = np.float32([[3.0], [-2.0]])[labels]
    tuples = np.asarray(drawn(jax.random.key(0), 64, 2, 16, labels))
    joint = values[:, 0] * values[:, 0]
    product = values[tuples[:, 0], 0] * values[tuples[:, 1], 0]
    np.testing.assert_allclose(
        donsker_varadhan(joint, product),
        np.mean(joint) - log_mean_exp(joint),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_estimator("tcme", ("a", "b")), r"\(tcne, tcne_dv, line_dv.*got 'tcme'"),
        (lambda: mutual_information("cub", "a", "b"), r"\(dv, mine, nwj.*got 'cub'"),
        (
            lambda: make_estimator("tcne", ("a", "b"), num_negatives=None, critic=JointCritic),
            "a number for num_negatives, got None.*AdditiveCritic.*got JointCritic",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_kinds_of_sums():
    names = ("a", "b", "c")
    kinds = {name: make_estimator(name, names).kind for name in ("tcne", "line_club", "tree_smile")}
    assert kinds == {"tcne": "lower bound", "line_club": "upper bound", "tree_smile": "neither"}
    assert make_estimator("line_infonce", names).ceiling(64) == pytest.approx(2 * math.log(64))
    assert make_estimator("line_nwj", names).ceiling(64) is None
    assert make_estimator("tcne", names, num_negatives=99).ceiling(64) == pytest.approx(
        math.log(100)
    )
