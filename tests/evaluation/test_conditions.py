"""Predictions without a modality and under noise, against values by hand."""

import numpy as np
import pytest

from tcmax_jax import methods
from tcmax_jax.evaluation.evaluate import evaluate_split, noisy_views, split_scores
from tcmax_jax.evaluation.quantities import Condition, without
from tcmax_jax.series import Series
from tests.evaluation.test_metrics import FEATURES, HEAD, LABELS

THREE = FEATURES | {"text": np.array([[0, 0, 5], [0, 0, 5], [0, 0, 5], [9, 0, 0]], np.float32)}


@pytest.mark.parametrize(
    ("dropped", "name", "share"),
    # Text is right on rows 2 and 3, and outweighs the others where it is not.
    [
        (["text"], "text", 0.75),
        (["visual"], "visual", 0.5),
        (["visual", "text"], "text+visual", 0.75),
        (["audio", "visual"], "audio+visual", 0.5),
    ],
)
def test_accuracy_without_parts(dropped, name, share):
    evaluation = evaluate_three(methods.Joint().make(), dropped=dropped)
    assert evaluation.metrics[f"without/{name}"] == share


def evaluate_three(method, head=HEAD, **options):
    """Returns the evaluation of the four examples with three modalities."""
    rows = {"inputs": None, "label": LABELS, "where": np.ones(4, bool), "index": np.arange(4)}
    return evaluate_split(lambda inputs: THREE, head, method, [rows], **options)


def test_a_method_predicts_by_its_own_rule_without_a_modality():
    # MLA weights by certainty: the sure text wins on row 1, where the sum is undecided.
    features = {"audio": np.float32([[0, 3, 0]]), "text": np.float32([[0, 0, 3.5]])}
    features["visual"] = np.float32([[9, 0, 0]])
    method = methods.MLA().make(tuple(features))
    (got,) = split_scores(method, HEAD, features, [("audio", "text")]).values()
    assert int(np.argmax(got)) == 2


@pytest.mark.parametrize(
    ("method", "dropped", "message"),
    [
        (methods.Joint(), ["lips"], "modalities audio, text, visual and .* got lips"),
        (methods.Joint(), ["audio", "visual", "text"], "got audio, visual, text"),
        (methods.Unimodal(modality="audio"), ["audio"], "that the method trains, got audio"),
    ],
)
def test_modalities_that_cannot_be_dropped(method, dropped, message):
    with pytest.raises(ValueError, match=message):
        evaluate_three(method.make(), dropped=dropped)


def batch(inputs, index):
    return {"inputs": inputs, "index": np.array(index)}


def test_noise_has_the_strength_asked_for_and_is_of_the_example_alone():
    rng = np.random.default_rng(0)
    sound = rng.normal(2, 3, (4, 50, 60)).astype(np.float32)
    pictures = rng.integers(0, 256, (4, 40, 40, 3), dtype=np.uint8)
    inputs = {"audio": sound, "visual": pictures}
    [whole] = noisy_views([batch(inputs, range(4))], [0.5, 2.0])
    assert list(whole["inputs"]) == [0.0, 0.5, 2.0]
    assert whole["inputs"][0.0] is inputs
    half, double = (whole["inputs"][s]["audio"] - sound for s in (0.5, 2.0))
    np.testing.assert_allclose(double, 4 * half, atol=1e-5)
    np.testing.assert_allclose(half.std(axis=(1, 2)), 0.5 * sound.std(axis=(1, 2)), rtol=0.05)
    assert abs(half.mean()) < 0.1
    noisy = whole["inputs"][0.5]["visual"]
    assert noisy.dtype == np.uint8
    # Grey levels that noise carries beyond the ends stay there, and do not come back at the other.
    change = noisy.astype(np.float64) - pictures
    bright, dark, middle = pictures > 250, pictures < 5, abs(pictures - 127.0) < 10
    spread = 0.5 * pictures.std()
    # The mean of a normal variable of which one half is cut off at 0.
    assert change[bright].mean() == pytest.approx(-spread / np.sqrt(2 * np.pi), abs=3)
    assert change[dark].mean() == pytest.approx(spread / np.sqrt(2 * np.pi), abs=3)
    assert change[middle].std() == pytest.approx(spread, rel=0.05)
    assert change[bright].max() <= 4
    assert (noisy == 255).mean() > 0.05

    parts = noisy_views(
        [batch({m: x[rows] for m, x in inputs.items()}, rows) for rows in ([3, 1], [0, 2])],
        [0.5],
    )
    for rows, part in zip(([3, 1], [0, 2]), parts, strict=True):
        for m in inputs:
            np.testing.assert_array_equal(part["inputs"][0.5][m], whole["inputs"][0.5][m][rows])


def test_a_constant_input_stays_as_it_is():
    [got] = noisy_views([batch({"audio": np.full((2, 5), 7, np.float32)}, [0, 1])], [1.0])
    np.testing.assert_array_equal(got["inputs"][1.0]["audio"], np.full((2, 5), 7))


def test_each_modality_is_noisy_by_itself():
    # Encoders that give the input: noise on one modality leaves the other's part as it was.
    examples = [
        {"inputs": FEATURES, "label": LABELS, "where": np.ones(4, bool), "index": np.arange(4)}
    ]
    got = evaluate_split(
        lambda inputs: inputs, HEAD, methods.Joint().make(), examples, hard=True, noise=(3.0,)
    )
    [views] = noisy_views(examples, [3.0])
    for m in FEATURES:
        mixed = {**FEATURES, m: views["inputs"][3.0][m]}
        expected = np.argmax(sum(HEAD.modality_logits(mixed).values()), axis=-1)
        np.testing.assert_array_equal(got.predicted[Condition(noisy=m, strength=3.0)], expected)
    assert list(got.predicted) == [
        without(["audio"]), without(["visual"]),
        Condition(noisy="audio", strength=3.0), Condition(noisy="visual", strength=3.0),
    ]  # fmt: skip
    easy = evaluate_split(
        lambda inputs: inputs, HEAD, methods.Joint().make(), examples, noise=(3.0,)
    )
    assert easy.predicted == {}
    assert easy.metrics == got.metrics


LENGTHS = (400, 100, 1, 250)


def series_of(values):
    """Returns a series of each length, with zeros after its end."""
    mask = np.arange(values.shape[1]) < np.array(LENGTHS)[:, None]
    return Series(np.where(mask.reshape(*mask.shape, *[1] * (values.ndim - 2)), values, 0), mask)


def noise_on(inputs, strength=0.5, rows=range(4)):
    """Returns the inputs of some examples with noise."""
    [views] = noisy_views([batch(inputs, rows)], [strength])
    assert views["inputs"][0.0] is inputs
    return views["inputs"][strength]


@pytest.mark.parametrize("shape", [(4, 400), (4, 400, 6), (4, 400, 3, 2)])
def test_noise_on_a_series_is_on_its_true_steps_alone(shape):
    clean = series_of(np.random.default_rng(0).normal(5, 3, shape).astype(np.float32))
    noisy = noise_on({"x": clean})["x"]
    assert isinstance(noisy, Series) and noisy.values.dtype == np.float32
    np.testing.assert_array_equal(noisy.mask, clean.mask)
    assert not noisy.values[~clean.mask].any()
    for i, length in enumerate(LENGTHS):
        before, after = clean.values[i, :length], noisy.values[i, :length]
        if before.size == 1:  # whose deviation is zero
            np.testing.assert_array_equal(after, before)
            continue
        assert (after != before).all()
        if before.size >= 100:  # The spread is that of the true steps, without the zeros.
            assert (after - before).std() == pytest.approx(0.5 * before.std(), rel=0.2)


def test_noise_on_a_series_does_not_depend_on_what_fills_it_up():
    clean = series_of(np.random.default_rng(0).normal(5, 3, (4, 400, 2)).astype(np.float32))
    longer = Series(*(np.pad(x, [(0, 0), (0, 50)] + [(0, 0)] * (x.ndim - 2)) for x in clean))
    filled = Series(np.where(clean.mask[..., None], clean.values, 99), clean.mask)
    noisy = noise_on({"x": clean})["x"].values
    np.testing.assert_allclose(noise_on({"x": longer})["x"].values[:, :400], noisy, atol=1e-5)
    np.testing.assert_allclose(
        noise_on({"x": filled})["x"].values, np.where(filled.mask[..., None], noisy, 99), atol=1e-5
    )
    some = Series(clean.values[[3, 1]], clean.mask[[3, 1]])
    np.testing.assert_array_equal(noise_on({"x": some}, rows=[3, 1])["x"].values, noisy[[3, 1]])


def test_grey_levels_of_a_series_stay_whole_numbers():
    levels = np.random.default_rng(0).integers(0, 256, (4, 400, 3), dtype=np.uint8)
    clean = series_of(levels)
    noisy = noise_on({"x": clean}, strength=2.0)["x"].values
    assert noisy.dtype == np.uint8
    assert not noisy[~clean.mask].any() and (noisy != clean.values).any()


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_ids_have_no_noise(dtype):
    ids = np.random.default_rng(0).integers(1, 1000, (4, 400)).astype(dtype)
    inputs = {"series": series_of(ids), "words": ids, "x": ids.astype(np.float32)}
    noisy = noise_on(inputs, strength=2.0)
    np.testing.assert_array_equal(noisy["series"].values, inputs["series"].values, strict=True)
    np.testing.assert_array_equal(noisy["series"].mask, inputs["series"].mask)
    np.testing.assert_array_equal(noisy["words"], ids, strict=True)
    assert (noisy["x"] != inputs["x"]).mean() > 0.9


def test_no_condition_is_reported_of_noise_on_ids():
    ids = np.argmax(FEATURES["visual"], axis=-1).astype(np.int32)
    examples = {"inputs": {"audio": FEATURES["audio"], "visual": ids}, "label": LABELS}
    got = evaluate_split(
        lambda inputs: {**inputs, "visual": 5 * np.eye(3, dtype=np.float32)[inputs["visual"]]},
        HEAD,
        methods.Joint().make(),
        [examples | {"where": np.ones(4, bool), "index": np.arange(4)}],
        hard=True,
        noise=(3.0,),
    )
    noisy = [condition for condition in got.predicted if condition.strength]
    assert noisy == [Condition(noisy="audio", strength=3.0)]
