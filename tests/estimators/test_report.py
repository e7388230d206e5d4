"""The report on a classifier's features: its terms, its chain, its verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tcmax_jax.estimators import evaluate, ground_truth, head_information, report_table, tc_report
from tcmax_jax.estimators.fit import Estimate, Fitted
from tcmax_jax.estimators.report import Sum, _verdict
from tcmax_jax.losses import tcmax_loss
from tcmax_jax.models import MLP, MultimodalClassifier, head_of
from tcmax_jax.models.fusion import ConcatHead

QUICK = {"steps": 200, "eval_every": 200, "learning_rate": 0.01, "num_negatives": 512}
# Compiling the terms is most of the time of a report: both have features of one shape.
DIM, CLASSES, EXAMPLES = 4, 2, 2000


def test_chain_of_a_labelled_mixture():
    means = np.array([[[2.0], [-2.0]], [[2.0], [-2.0]]])
    truth = ground_truth.labelled_mixture(means, 0.5, num_monte_carlo=20_000)
    samples = truth.sample(jax.random.key(0), EXAMPLES)
    # Several times the same number tells no more than once.
    features = {m: np.tile(samples[x], DIM) for m, x in (("a", "x1"), ("v", "x2"))}

    def head(z):
        """log p(a | y) p(v | y) / p(a) p(v): all but I(a;v|y) of the total correlation."""
        ratio = lambda x: (
            jax.nn.log_softmax(jnp.concatenate([2 * x[:, :1], -2 * x[:, :1]], axis=1))
            + jnp.log(2.0)
        )
        return ratio(z["a"]) + ratio(z["v"])

    report = tc_report(features, np.asarray(samples["y"]), head, **QUICK)
    assert list(report.terms) == [
        "I(y;a)",
        "I(y;v)",
        "I(y;a,v)",
        "I(a;v)",
        "I(a;v|y)",
        "TC(a;v;y)",
        "TC(a;v;y) by the head",
    ]
    # I(a;v|y) = -(1/2) log(1 - 0.5^2) = 0.144; nothing is above its truth by more than chance.
    given = report.terms["I(a;v|y)"]
    assert abs(given.value - 0.144) < 3 * given.standard_error + 0.03
    for sum_ in report.decompositions:
        assert abs(sum_.value - truth.total_correlation) < 3 * sum_.standard_error + 0.1
    whole = report.terms["TC(a;v;y)"]
    assert abs(whole.value - truth.total_correlation) < 3 * whole.standard_error + 0.1
    by_head = report.terms["TC(a;v;y) by the head"]
    assert abs(by_head.value - (truth.total_correlation - 0.144)) < 3 * by_head.standard_error
    assert by_head.standard_error < 0.05
    # What the sums share does not count twice in the error of their difference.
    first, second = report.decompositions
    assert report.difference_error < np.hypot(first.standard_error, second.standard_error)
    value = {name: term.value for name, term in report.terms.items()}
    left = value["I(y;a,v)"] + value["I(a;v)"] - value["I(y;a)"] - value["I(y;v)"]
    np.testing.assert_allclose(report.difference, left - value["I(a;v|y)"], atol=1e-6)
    # Both sums are the total correlation, and these small fits come near enough to show it.
    assert report.agree
    table = report_table(report)
    assert f"I(a;v|y)                       {given.value:11.3f}"[-11:] in table
    assert "I(y;a,v) + I(a;v)" in table and report.verdict in table


@pytest.fixture(scope="module")
def trained():
    """A report on a tiny classifier, trained where the audio is the class and the visual noise."""

    def draw(seed, number):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, CLASSES, number)
        audio = np.eye(3)[labels] + 0.1 * rng.normal(size=(number, 3))
        inputs = {"audio": audio, "visual": rng.normal(size=(number, 3))}
        return {m: np.float32(x) for m, x in inputs.items()}, labels

    modalities = ("audio", "visual")
    encoders = {m: MLP((8, DIM)) for m in modalities}
    model = MultimodalClassifier(encoders, ConcatHead(modalities, CLASSES))
    inputs, labels = draw(0, 256)
    params = jax.jit(model.init)(jax.random.key(0), inputs)["params"]
    optimizer = optax.adam(0.02)

    def loss(params):
        features = model.apply({"params": params}, inputs, True, method="encode")
        return tcmax_loss(head_of(model, params), features, labels).mean()

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = jax.jit(optimizer.init)(params)
    for _ in range(60):
        params, state = step(params, state)
    inputs, labels = draw(1, EXAMPLES)
    encode = jax.jit(lambda z: model.apply({"params": params}, z, method="encode"))
    return tc_report(encode(inputs), labels, head_of(model, params), **QUICK)


def test_terms_of_a_trained_classifier(trained):
    """All facts are of the data: y is a function of the audio, and nothing else is told."""
    log_c = np.log(CLASSES)
    facts = {
        "I(y;audio)": log_c,
        "I(y;visual)": 0,
        "I(y;audio,visual)": log_c,
        "I(audio;visual)": 0,
        "I(audio;visual|y)": 0,
        "TC(audio;visual;y)": log_c,
    }
    for name, fact in facts.items():
        term = trained.terms[name]
        assert abs(term.value - fact) < 3 * term.standard_error + 0.05, name
    by_head = trained.terms["TC(audio;visual;y) by the head"]
    assert 0.5 * log_c < by_head.value < log_c + 3 * by_head.standard_error + 0.02


def test_decompositions_of_a_trained_classifier(trained):
    for each in trained.decompositions:
        assert abs(each.value - np.log(CLASSES)) < 3 * each.standard_error + 0.1
    assert abs(trained.difference) < 3 * trained.difference_error + 0.05


def test_head_bound_is_the_tcmax_loss_with_the_empirical_prior():
    rng = np.random.default_rng(0)
    features = {m: jnp.asarray(rng.normal(size=(40, 3)), jnp.float32) for m in "av"}
    labels = jnp.asarray(rng.integers(0, 3, 40))
    head = lambda z: z["a"] * z["v"]
    # All pairs of different rows, here; the loss has the 40 true pairs among its 1600 as well.
    estimator = head_information(head, ("a", "v"), "y", num_negatives=40 * 39)
    batch = features | {"y": jnp.eye(3)[labels]}
    value = jax.jit(estimator.value)((), batch, jax.random.key(0))
    prior = jnp.bincount(labels, length=3) / 40
    logits = {m: features[m] for m in "av"}
    everything = jax.jit(lambda: tcmax_loss(head, logits, labels, label_prior=prior))()
    positives = jnp.take_along_axis(head(features), labels[:, None], axis=1)
    all_sum = jnp.mean(everything + positives[:, 0])
    own = jax.nn.logsumexp(head(features) + jnp.log(prior))
    others = jnp.log(jnp.exp(all_sum) * 1600 - jnp.exp(own)) - jnp.log(1560)
    np.testing.assert_allclose(value, jnp.mean(positives) - others, rtol=1e-4)
    error = evaluate(estimator, (), batch, jax.random.key(0)).standard_error
    assert 0 < error < 1


@pytest.mark.parametrize(("spread", "agree"), [(1.0, True), (0.71, True), (0.70, False)])
def test_sums_of_three_modalities(monkeypatch, spread, agree):
    """With known estimates in place of fitted ones, one number a term."""
    numbers = iter([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])

    def fake_fit(parts, estimator, **options):
        value = next(numbers)
        return Fitted(Estimate(value, 0.0, spread * np.array([value, -value]), None), 0, [], None)

    monkeypatch.setattr("tcmax_jax.estimators.report.fit", fake_fit)
    rng = np.random.default_rng(0)
    features = {m: rng.normal(size=(12, 2)) for m in ("a", "v", "y")}
    report = tc_report(features, rng.integers(0, 2, 12))
    assert {name: e.value for name, e in report.terms.items()} == {
        "I(y_;a)": 1,
        "I(y_;v)": 2,
        "I(y_;y)": 4,
        "I(y_;a,v,y)": 8,
        "TC(a;v;y)": 16,
        "TC(a;v;y|y_)": 32,
        "TC(a;v;y;y_)": 64,
    }
    first, second = report.decompositions
    assert (first.name, first.value) == ("I(y_;a,v,y) + TC(a;v;y)", 24)
    assert (second.name, second.value) == ("I(y_;a) + I(y_;v) + I(y_;y) + TC(a;v;y|y_)", 39)
    # Influences add before they are squared: (24, -24) and (39, -39), so (-15, 15) between them.
    assert first.standard_error == pytest.approx(spread * np.sqrt(2) * 24 / 2)
    assert report.difference_error == pytest.approx(spread * np.sqrt(2) * 15 / 2)
    # 15 apart, two standard errors are 15 sqrt(2) of the spread: it decides at 0.707.
    assert report.difference == -15 and report.agree == agree
    assert report.verdict.startswith(f"The decompositions {'agree' if agree else 'disagree'}: 15")


def test_verdicts():
    low, high = Sum("low", 1.0, 0.1, np.zeros(1)), Sum("high", 1.5, 0.1, np.zeros(1))
    agree = _verdict(high, low, 0.3, True)
    assert agree.startswith("The decompositions agree: 0.500 +- 0.300 nats apart. All terms are lo")
    disagree = _verdict(high, low, 0.1, False)
    assert "disagree: 0.500 +- 0.100 nats apart" in disagree
    assert "low misses about that much or more" in disagree and "high is nearer" in disagree


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        ({"a": np.ones((9, 2)), "v": np.ones((9, 2))}, np.ones(9), "integer labels .* float64"),
        ({"a": np.ones((9, 2))}, np.arange(9), r"two modalities or more, got \['a'\]"),
        ({"a": np.ones((9, 2)), "v": np.ones(9, int)}, np.arange(9), "integer labels .*'v': 'int"),
    ],
)
def test_refusals(features, labels, message):
    with pytest.raises(ValueError, match=message):
        tc_report(features, labels)
