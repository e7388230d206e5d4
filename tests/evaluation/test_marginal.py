"""Predictions from some of the modalities: which rule a method has, and where it is told."""

import functools
import itertools
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from tcmax_jax import methods
from tcmax_jax.evaluation.evaluate import evaluate_split
from tcmax_jax.evaluation.marginal import all_but, marginal_scores, single
from tcmax_jax.evaluation.metrics import _compiled_sampled_loss, split_metrics
from tcmax_jax.losses import AdditiveHead
from tcmax_jax.methods.base import MethodOptions, cross_entropy, follow
from tcmax_jax.models import HeadOptions, head_of
from tests.evaluation.test_metrics import FEATURES, HEAD, LABELS

NAMES = ("audio", "visual")
PRIOR = np.array([0.5, 0.3, 0.2], np.float32)
TCMAX = methods.TCMax().make()
# What each method makes of its logits.
RATIO = {"tcmax": TCMAX, "with a prior": methods.TCMax(label_prior="empirical").make((), PRIOR)}
POSTERIOR = ["joint", "ogm", "ogm_ge", "opm", "agm", "pmr", "infonce", "mmpareto"]
PARTS = ["unimodal", "mla", "qmf"]


def made(kind):
    return MethodOptions.of_kind(kind).make(NAMES)


def drawn(seed, rows):
    rng = np.random.default_rng(seed)
    return {m: rng.normal(size=(rows, 4)).astype(np.float32) for m in NAMES}


def head_with(kind, seed=0):
    """Returns a head with random parameters, as the classifier gives it to losses."""
    module = HeadOptions.of_kind(kind).make(NAMES, 3)

    @functools.partial(jax.jit, static_argnames="method")
    def apply(variables, z, method="fuse"):
        return module.apply(variables, z, method={"fuse": "__call__"}.get(method, method))

    shapes = jax.eval_shape(module.init, jax.random.key(0), drawn(0, 1))["params"]
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
    head = head_of(SimpleNamespace(head=module), params, apply)
    return head, functools.partial(apply, {"params": params})


def averaged(logits, features, bank, known, of_tuple):
    """Returns the log-mean-exp of `of_tuple`(logits) over the bank's rows, by a loop."""
    rows = []
    for i, _ in enumerate(features["audio"]):
        terms = []
        for j, _ in enumerate(bank["audio"]):
            one = {m: (features[m][i] if m == known else bank[m][j])[None] for m in NAMES}
            terms.append(of_tuple(np.float64(logits(one))[0]))
        rows.append(logsumexp(terms, axis=0) - np.log(len(terms)))
    return np.stack(rows)


@pytest.mark.parametrize("fusion", ["sum", "film", "gated", "bigated", "low_rank"])
def test_scores_of_the_built_in_heads_are_means_over_the_bank(fusion):
    features, bank = drawn(1, 3), drawn(2, 5)
    head, logits = head_with(fusion)
    for method, of_tuple in ((TCMAX, lambda x: x), (made("joint"), log_softmax)):
        got = marginal_scores(method, head, features, bank, [("audio",), ("visual",)])
        for (m,), scores in got.items():
            expected = averaged(logits, features, bank, m, of_tuple)
            np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fusion", ["film", "bigated"])
def test_the_bound_is_compiled_once_for_all_parameters_of_a_model(fusion):
    head, _ = head_with(fusion)
    bounds, sizes = [], []
    for each in (head, jax.tree.map(lambda x: 0.5 * x, head)):
        plain = lambda z, each=each: each(z)  # left whole, and not compiled
        for form in (each, plain):
            scores = {"fused": each(drawn(1, 6))}
            metrics = split_metrics(TCMAX, form, drawn(1, 6), np.arange(6) % 3, scores)
            bounds.append(metrics["tc_bound"])
        sizes.append(_compiled_sampled_loss._cache_size())
    assert sizes[0] == sizes[1], "compiled again for other parameters"
    np.testing.assert_allclose(bounds[::2], bounds[1::2], rtol=1e-5)
    assert abs(bounds[0] - bounds[2]) > 0.01


@pytest.mark.parametrize("kind", POSTERIOR)
def test_methods_of_cross_entropy_average_probabilities(kind):
    got = marginal_scores(made(kind), HEAD, FEATURES, FEATURES, [("visual",)])
    expected = averaged(lambda z: sum(z.values()), FEATURES, FEATURES, "visual", log_softmax)
    np.testing.assert_allclose(got["visual",], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", RATIO)
def test_tcmax_averages_the_density_ratio_and_adds_its_prior(kind):
    got = marginal_scores(RATIO[kind], HEAD, FEATURES, FEATURES, [("visual",)])
    expected = averaged(lambda z: sum(z.values()), FEATURES, FEATURES, "visual", lambda x: x)
    if kind == "with a prior":
        expected = expected + np.log(PRIOR)
    np.testing.assert_allclose(got["visual",], expected, rtol=1e-5)
    # All of them together are the fused prediction.
    whole = marginal_scores(RATIO[kind], HEAD, FEATURES, FEATURES, [NAMES])[NAMES]
    np.testing.assert_allclose(whole, RATIO[kind].predict(HEAD, FEATURES), rtol=1e-6)


@pytest.mark.parametrize("kind", PARTS)
def test_methods_that_train_each_part_by_itself_take_that_part(kind):
    got = marginal_scores(made(kind), HEAD, FEATURES, FEATURES, [("visual",)])
    chosen = np.argmax(got["visual",], axis=-1)
    np.testing.assert_array_equal(chosen, np.argmax(FEATURES["visual"], axis=-1))


def test_every_method_has_a_rule():
    assert {*POSTERIOR, *PARTS, "tcmax"} == set(MethodOptions.members()) - {"smoothed"}


def test_a_rule_of_ones_own_is_averaged_as_it_predicts():
    def sharper(head, features):
        return 2 * head(features)

    method = follow(lambda forward, state: cross_entropy, sharper)
    got = marginal_scores(method, HEAD, FEATURES, FEATURES, [("audio",)])
    twice = lambda z: 2 * sum(z.values())
    expected = averaged(twice, FEATURES, FEATURES, "audio", log_softmax)
    np.testing.assert_allclose(got["audio",], expected, rtol=1e-5, atol=1e-6)


def test_which_subsets_a_method_can_predict_from():
    three = FEATURES | {"text": FEATURES["audio"]}
    joint, alone = made("joint"), methods.Unimodal(modality="audio").make()
    assert single(joint, three) == [("audio",), ("visual",), ("text",)]
    assert all_but(joint, three) == [("text", "visual"), ("audio", "text"), ("audio", "visual")]
    assert single(alone, three) == [("audio",)]
    assert all_but(alone, three) == [("audio", "text"), ("audio", "visual")]


ROWS = {"inputs": FEATURES, "label": LABELS, "where": np.ones(4, bool), "index": np.arange(4)}


def test_an_evaluation_averages_over_the_bank_that_it_is_given():
    bank = {m: z[:2] for m, z in FEATURES.items()}
    own, other = (
        evaluate_split(lambda z: z, HEAD, TCMAX, [ROWS], bank=b, hard=True) for b in (None, bank)
    )
    for evaluation, rows in ((own, FEATURES), (other, bank)):
        expected = marginal_scores(TCMAX, HEAD, FEATURES, rows, [("audio",), ("visual",)])
        # Without the picture the sound alone is known.
        assert evaluation.marginal.keys() == expected.keys()
        for known, scores in evaluation.marginal.items():
            np.testing.assert_array_equal(scores, expected[known])
            hits = np.mean(scores.argmax(-1) == LABELS)
            assert evaluation.metrics[f"marginal/accuracy/{known[0]}"] == hits
            log_p = log_softmax(scores, axis=-1)[np.arange(4), LABELS]
            losses = evaluation.metrics[f"marginal/cross_entropy/{known[0]}"]
            assert losses == pytest.approx(-log_p.mean(), rel=1e-6)
    assert own.metrics["marginal/cross_entropy/audio"] != other.metrics[
        "marginal/cross_entropy/audio"]  # fmt: skip


def test_heads_that_couple_the_modalities_have_marginals_and_no_parts():
    got = evaluate_split(
        lambda z: z, lambda z: z["audio"] * z["visual"], TCMAX, [ROWS], hard=True, dropped=["audio"]
    )
    assert got.predicted == {}
    share = np.mean(got.marginal["visual",].argmax(-1) == LABELS)
    assert got.metrics["marginal/without/audio"] == got.metrics["marginal/accuracy/visual"] == share
    assert "without/audio" not in got.metrics


def test_three_modalities_are_evaluated_by_one_and_by_two():
    rows = ROWS | {"inputs": FEATURES | {"text": FEATURES["audio"][::-1]}}
    easy, hard = (evaluate_split(lambda z: z, HEAD, TCMAX, [rows], hard=h) for h in (False, True))
    names = ("audio", "text", "visual")
    alone, pairs = ({*itertools.combinations(names, size)} for size in (1, 2))
    assert easy.marginal.keys() == alone
    assert hard.marginal.keys() == alone | pairs


def test_offsets_that_cancel_in_the_sum_spoil_the_parts_alone():
    drift = np.float32([0, 50, 0])
    moved = AdditiveHead(lambda z: {"audio": z["audio"] + drift, "visual": z["visual"] - drift})
    plain, drifted = (
        evaluate_split(lambda z: z, h, TCMAX, [ROWS], hard=True).metrics for h in (HEAD, moved)
    )
    assert drifted["accuracy/audio"] != plain["accuracy/audio"]
    for name in ("accuracy", "marginal/accuracy/audio", "marginal/accuracy/visual"):
        assert drifted[name] == plain[name]
