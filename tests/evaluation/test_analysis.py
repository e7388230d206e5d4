"""Analyses against values by hand and against independent computations."""

import json
import re

import numpy as np
import pytest

from tcmax_jax.estimators.fit import Estimate
from tcmax_jax.estimators.report import Report, Sum
from tcmax_jax.evaluation import analysis
from tcmax_jax.evaluation.outputs import (
    Outputs,
    analysis_numbers,
    read_outputs,
    store,
    stored_recalibration,
    write_outputs,
)
from tcmax_jax.evaluation.quantities import Condition, Name, under, without
from tcmax_jax.evaluation.recalibration import cross_recalibrate, fit_recalibration
from tcmax_jax.evaluation.text import analysis_text

LOG = np.log
# With their keys in files.
CONDITIONS = {
    "without/audio": without(["audio"]),
    "without/visual": without(["visual"]),
    "noise/audio=0.5": Condition(noisy="audio", strength=0.5),
    "noise/audio=2": Condition(noisy="audio", strength=2.0),
}


def scores_of(*probabilities):
    return LOG(np.asarray(probabilities))


def test_js_divergence_by_hand():
    # The same prediction; opposite certain ones; and .75 / .25 against its mirror image.
    a = scores_of([0.5, 0.5], [1 - 1e-300, 1e-300], [0.75, 0.25]) + 7.0
    b = scores_of([0.5, 0.5], [1e-300, 1 - 1e-300], [0.25, 0.75])
    last = LOG(2) + 0.75 * LOG(0.75) + 0.25 * LOG(0.25)
    got = analysis.js_divergence({"a": a, "b": b})
    np.testing.assert_allclose(got, [0, LOG(2), last], rtol=1e-12, atol=1e-15)
    three = {"a": a[1:2], "b": b[1:2], "c": scores_of([0.5, 0.5])}
    # The mixture is uniform; two are certain, the third is uniform.
    np.testing.assert_allclose(analysis.js_divergence(three), LOG(2) - LOG(2) / 3, rtol=1e-12)


def test_js_divergence_is_the_mean_divergence_from_the_mixture():
    rng = np.random.default_rng(0)
    scores = {m: rng.normal(size=(20, 7), scale=3) for m in "abc"}
    p = np.stack([np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in scores.values()])
    expected = (p * LOG(p / p.mean(0))).sum(-1).mean(0)
    np.testing.assert_allclose(analysis.js_divergence(scores), expected, rtol=1e-10)


def test_entropies():
    scores = scores_of([0.25] * 4, [0.5, 0.5, 1e-300, 1e-300])
    np.testing.assert_allclose(analysis.prediction_entropy(scores), [LOG(4), LOG(2)])
    certain = np.array([[1e4, -1e4], [-1e4, 1e4]])
    np.testing.assert_array_equal(analysis.prediction_entropy(certain), [0, 0])
    a, b = scores_of([0.25] * 4), scores_of([0.5, 0.5, 1e-300, 1e-300])
    assert analysis.entropy_ratio({"a": a, "b": b}) == pytest.approx(2)
    assert analysis.entropy_ratio({"a": b, "b": a}) == pytest.approx(2)
    assert analysis.entropy_ratio({"a": certain, "b": a}) is None


def test_gain_is_over_the_best_single_modality():
    right, wrong = np.eye(4), np.roll(np.eye(4), 1, axis=1)
    labels = np.arange(4)
    half = np.concatenate([right[:2], wrong[2:]])
    scores = {"fused": right, "a": half, "b": wrong}
    assert analysis.multimodal_gain(scores, labels) == 0.5
    assert analysis.multimodal_gain(scores | {"fused": wrong}, labels) == -0.5


def test_reliability_and_calibration_by_hand():
    # Confidences .6 (right), .6 (wrong), .9 (right), 1 (right), in bins of a half.
    scores = scores_of([0.6, 0.4], [0.4, 0.6], [0.9, 0.1], [1 - 1e-300, 1e-300])
    labels = np.array([0, 0, 0, 0])
    [only] = analysis.reliability(scores, labels, bins=2)
    assert only == {"confidence": pytest.approx(0.775), "accuracy": 0.75, "count": 4}
    assert analysis.calibration_error(scores, labels, bins=2) == pytest.approx(0.025)
    low, high, sure = analysis.reliability(scores, labels, bins=10)
    assert low == {"confidence": pytest.approx(0.6), "accuracy": 0.5, "count": 2}
    assert (high["count"], sure["count"]) == (1, 1)
    expected = (2 * 0.1 + 0.1 + 0) / 4
    assert analysis.calibration_error(scores, labels, bins=10) == pytest.approx(expected)


def test_confusion_has_classes_in_rows():
    scores = np.eye(3)[[0, 2, 2, 1]]
    got = analysis.confusion(scores, np.array([0, 0, 2, 1]))
    np.testing.assert_array_equal(got, [[1, 0, 1], [0, 1, 0], [0, 0, 1]])


def test_cka_against_its_kernel_form_and_its_limits():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 6))
    centre = np.eye(30) - 1 / 30

    def hsic(a, b):
        return np.trace(a @ centre @ b @ centre)

    k, m = x @ x.T, y @ y.T
    expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    assert analysis.linear_cka(x, y) == pytest.approx(expected)
    rotation, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    assert analysis.linear_cka(x, 3 * x @ rotation + 5) == pytest.approx(1)
    assert analysis.linear_cka(x, np.ones((30, 2))) == 0


@pytest.fixture
def outputs():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 60)
    own = {m: rng.normal(size=(60, 3)).astype(np.float32) for m in ("audio", "visual")}
    return Outputs(
        labels=labels.astype(np.int32),
        scores={"fused": own["audio"] + own["visual"], **own},
        features={m: rng.normal(size=(60, 5)).astype(np.float32) for m in own},
        predicted={c: rng.integers(0, 3, 60, dtype=np.int32) for c in CONDITIONS.values()},
        class_names=["a", "b", "c"],
        dataset="tiny/1.0.0",
        split="test",
        marginal={(m,): x + np.arange(3, dtype=np.float32) for m, x in own.items()},
    )


def test_outputs_come_back_as_they_were(outputs, tmp_path):
    path = tmp_path / "outputs.npz"
    write_outputs(path, outputs)
    with np.load(path) as file:
        assert {f"predicted/{key}" for key in CONDITIONS} < set(file.files)
    assert {p.name for p in tmp_path.iterdir()} == {"outputs.npz", "digests.json"}
    back = read_outputs(path)
    arrays = dict.fromkeys(("labels", "scores", "features", "predicted", "marginal"))
    assert back._replace(**arrays) == outputs._replace(**arrays)
    np.testing.assert_array_equal(back.labels, outputs.labels)
    for kind in ("scores", "features", "predicted", "marginal"):
        assert list(getattr(back, kind)) == list(getattr(outputs, kind))
        for name, x in getattr(outputs, kind).items():
            np.testing.assert_array_equal(getattr(back, kind)[name], x, strict=True)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"text"])
def test_other_files_are_no_outputs(tmp_path, content):
    path = tmp_path / "outputs.npz"
    with pytest.raises(ValueError, match=r"outputs of an evaluation in .*npz, got: .*evaluate"):
        read_outputs(path)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"outputs of an evaluation in .*npz, got: .*evaluate"):
        read_outputs(path)


def test_analyse_gathers_them(outputs):
    found = analysis.analyse(outputs)
    own = {m: outputs.scores[m] for m in ("audio", "visual")}
    divergence = analysis.js_divergence(own)
    assert found["js_divergence"] == {
        "mean": pytest.approx(divergence.mean()),
        "standard_error": pytest.approx(divergence.std(ddof=1) / np.sqrt(60)),
    }
    assert found["entropy_ratio"] == analysis.entropy_ratio(own)
    assert found["examples"] == np.sum(found["confusion"]) == 60
    trace = np.trace(found["confusion"]) / 60
    assert found["accuracy"]["fused"] == pytest.approx(trace)
    gain = found["accuracy"]["fused"] - max(found["accuracy"][m] for m in own)
    assert found["multimodal_gain"] == pytest.approx(gain)
    assert found["cka"].keys() == {"audio+visual"}
    p = np.exp(outputs.scores["audio"]) / np.exp(outputs.scores["audio"]).sum(-1, keepdims=True)
    expected = -LOG(p[np.arange(60), outputs.labels]).mean()
    assert found["cross_entropy"]["audio"] == pytest.approx(expected, rel=1e-5)


def test_the_same_is_said_of_single_modalities_by_their_marginals(outputs):
    found = analysis.analyse(outputs)["marginal"]
    alone = {m: outputs.marginal[m,] for m in ("audio", "visual")}
    as_parts = analysis.analyse(outputs._replace(scores=outputs.scores | alone))
    for key in ("accuracy", "cross_entropy", "entropy", "calibration_error", "reliability"):
        assert found[key] == {m: as_parts[key][m] for m in alone}
    for key in ("js_divergence", "entropy_ratio", "multimodal_gain"):
        assert found[key] == as_parts[key] != analysis.analyse(outputs)[key]
    # Without the sound the picture alone is known.
    assert found["accuracy_without"] == {
        "audio": found["accuracy"]["visual"],
        "visual": found["accuracy"]["audio"],
    }


def test_three_modalities_are_missing_one_at_a_time_and_known_one_at_a_time(outputs):
    names, x = ("audio", "lips", "visual"), outputs.scores["audio"]
    known = [("audio",), ("lips",), ("audio", "lips"), ("audio", "visual")]
    scores = {k: np.roll(x, shift, axis=1) for shift, k in enumerate(known)}
    features = {m: outputs.features["audio"] for m in names}
    coupled = {"fused": outputs.scores["fused"]}
    found = analysis.analyse(
        outputs._replace(features=features, scores=coupled, predicted={}, marginal=scores)
    )
    hits = {k: np.mean(s.argmax(-1) == outputs.labels) for k, s in scores.items()}
    assert found["marginal"]["accuracy"] == {"audio": hits["audio",], "lips": hits["lips",]}
    assert found["marginal"]["accuracy_without"] == {
        "lips": hits["audio", "visual"],
        "visual": hits["audio", "lips"],
    }
    assert "accuracy_without" not in found


def test_accuracies_under_harder_conditions_come_from_the_stored_predictions(outputs):
    found = analysis.analyse(outputs)
    share = {key: np.mean(outputs.predicted[c] == outputs.labels) for key, c in CONDITIONS.items()}
    assert found["accuracy_without"] == {
        "audio": share["without/audio"],
        "visual": share["without/visual"],
    }
    assert found["accuracy_under_noise"] == {
        "audio": {"0.5": share["noise/audio=0.5"], "2": share["noise/audio=2"]}
    }
    assert analysis.analyse(outputs._replace(predicted={})).keys() == found.keys() - {
        "accuracy_without",
        "accuracy_under_noise",
    }


def test_the_chain_is_that_of_features_and_labels(outputs, monkeypatch):
    def report(features, labels, **options):
        assert features is outputs.features
        assert labels is outputs.labels
        assert options == {"steps": 3}
        term = Estimate(0.5, 0.1, np.ones(4), 2.0)
        return Report({"I(y;audio)": term}, (Sum("a + b", 1.0, 0.2, np.ones(4)),), 0.25, 0.5, True,
                      "They agree.")  # fmt: skip

    monkeypatch.setattr(analysis, "tc_report", report)
    assert analysis.total_correlation_chain(outputs, steps=3) == {
        "terms": {"I(y;audio)": {"nats": 0.5, "standard_error": 0.1}},
        "sums": {"a + b": {"nats": 1.0, "standard_error": 0.2}},
        "difference": 0.25,
        "difference_error": 0.5,
        "agree": True,
        "verdict": "They agree.",
    }


def test_stored_outputs_are_analysed_again_without_losing_the_chain(outputs, tmp_path, monkeypatch):
    validation = outputs._replace(split="validation")
    splits = {"validation": validation, "test": outputs}
    store(tmp_path, splits, analysis.analyse_splits(splits))
    path = tmp_path / "analysis.json"
    first = json.loads(path.read_text())
    found = analysis.analyse_recalibrated(validation, {"test": outputs})
    assert first == {
        "validation": analysis.analyse(validation) | {"recalibration": found["validation"]},
        "test": analysis.analyse(outputs) | {"recalibration": found["test"]},
    }
    path.unlink()
    assert analysis.analyse_stored(tmp_path) == json.loads(path.read_text()) == first

    made = {"verdict": "They agree."}
    monkeypatch.setattr(analysis, "total_correlation_chain", lambda own, **options: made)
    with_chain = analysis.analyse_stored(tmp_path, chain=True)
    assert "total_correlation" not in with_chain["validation"]
    assert with_chain["test"]["total_correlation"] == made
    assert analysis.analyse_stored(tmp_path) == json.loads(path.read_text()) == with_chain
    # New outputs have no chain yet.
    store(tmp_path, splits, analysis.analyse_splits(splits))
    assert json.loads(path.read_text()) == first


def test_recalibration_is_found_on_validation_and_judged_on_test(outputs):
    rng = np.random.default_rng(5)
    other = outputs._replace(
        labels=rng.integers(0, 3, len(outputs.labels)),
        scores={m: 2 * rng.normal(size=x.shape) for m, x in outputs.scores.items()},
    )
    found = analysis.analyse_recalibrated(other, {"test": outputs})
    assert {name: found["validation"][name] for name in ("weights", "offsets")} == {
        name: found["test"][name] for name in ("weights", "offsets")
    }
    found = found["test"]
    own = {m: other.scores[m] for m in ("audio", "visual")}
    fitted = fit_recalibration(own, other.labels)
    assert {name: found[name] for name in fitted} == fitted
    losses, hits = [], []
    for i, y in enumerate(outputs.labels):
        row = np.array(fitted["offsets"])
        for m, w in fitted["weights"].items():
            row = row + w * np.float64(outputs.scores[m][i])
        losses.append(np.log(np.exp(row).sum()) - row[y])
        hits.append(np.argmax(row) == y)
    assert found["accuracy"] == pytest.approx(np.mean(hits))
    assert found["cross_entropy"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_on_validation_no_example_is_judged_by_a_fit_that_has_seen_it(outputs):
    ((split, found),) = analysis.analyse_recalibrated(outputs, {}).items()
    assert split == "validation"
    own = {m: outputs.scores[m] for m in outputs.modalities}
    scores = cross_recalibrate(own, outputs.labels, np.arange(len(outputs.labels)))
    hits = [np.argmax(row) == y for row, y in zip(scores, outputs.labels, strict=True)]
    assert found["accuracy"] == pytest.approx(np.mean(hits))


def test_heads_that_are_no_sum_and_runs_without_validation_have_no_recalibration(outputs, tmp_path):
    coupled = outputs._replace(scores={"fused": outputs.scores["fused"]})
    for splits in ({"validation": coupled, "test": coupled}, {"test": outputs}):
        analyses = analysis.analyse_splits(splits)
        assert all("recalibration" not in own for own in analyses.values())
        store(tmp_path, splits, analyses)
        with pytest.raises(ValueError, match=r"Expected a recalibration in .*no sum of modalities"):
            stored_recalibration(tmp_path)
    with pytest.raises(ValueError, match=r"Expected the analyses .*got none\. Write them with --m"):
        stored_recalibration(tmp_path / "none")


def test_a_folder_without_outputs_cannot_be_analysed(tmp_path):
    with pytest.raises(ValueError, match=r"Expected outputs of an evaluation in .*got none. Write"):
        analysis.analyse_stored(tmp_path)


def test_analyses_as_text(outputs):
    found = analysis.analyse(outputs)
    found["total_correlation"] = {
        "terms": {"I(y;audio)": {"nats": 0.5, "standard_error": 0.1}},
        "verdict": "They agree.",
    }
    found["recalibration"] = {"accuracy": 0.625, "weights": {"audio": 0.25, "visual": 2}}
    told = {"validation": {"accuracy": {"fused": 0.5}}, "test": found}
    lines = analysis_text(told, width=80).splitlines()
    assert lines[0].split() == ["validation", "test"]
    assert lines[-1] == "They agree."
    rows = dict(re.fullmatch(r"(.+?)  +\S+  +(\S.*)", line).groups() for line in lines[1:-1])
    noisy = found["accuracy_under_noise"]["audio"]
    mean, error = (found["js_divergence"][x] for x in ("mean", "standard_error"))
    assert rows["fused accuracy with noise on audio (2 std) (%)"] == f"{100 * noisy['2']:.2f}"
    for by, own in (("split", found), ("marginal", found["marginal"])):
        without_visual = own["accuracy_without"]["visual"]
        assert rows[f"fused accuracy without visual ({by}, %)"] == f"{100 * without_visual:.2f}"
    assert rows["JS divergence (split, nats)"] == f"{mean:.4f} ±{error:.4f}"
    assert rows["recalibrated accuracy (%)"] == "62.50"
    assert rows["weight of visual"] == "2.0000"
    assert rows["entropy ratio (split)"] == f"{found['entropy_ratio']:.4f}"
    gain = found["marginal"]["multimodal_gain"]
    assert rows["multimodal gain (marginal, points)"] == f"{100 * gain:+.2f}"
    assert rows["entropy, fused (nats)"] == f"{found['entropy']['fused']:.4f}"
    assert rows["I(y;audio), lower bound (nats)"] == "0.5000 ±0.1000"
    # What the other split does not have is a dash there.
    share = f"{100 * found['accuracy']['fused']:.2f}"
    assert lines[1].split() == ["fused", "accuracy", "(%)", "50.00", share]
    assert lines[2].split() == ["recalibrated", "accuracy", "(%)", "-", "62.50"]


def test_numbers_of_an_analysis_have_the_names_of_the_metrics(outputs):
    found = analysis.analyse_splits({"validation": outputs._replace(split="validation"),
                                     "test": outputs})["test"]  # fmt: skip
    numbers = analysis_numbers(found)
    assert numbers[Name("accuracy")] == (found["accuracy"]["fused"], None)
    assert numbers[Name("cross_entropy", "audio")] == (found["cross_entropy"]["audio"], None)
    assert numbers[Name("entropy", "fused")] == (found["entropy"]["fused"], None)
    recalibrated = found["recalibration"]
    assert numbers[Name("cross_entropy", "recalibrated")] == (recalibrated["cross_entropy"], None)
    assert numbers[Name("weight", "audio")] == (recalibrated["weights"]["audio"], None)
    for condition in CONDITIONS.values():
        share = np.mean(outputs.predicted[condition] == outputs.labels)
        assert numbers[under(condition)] == (share, None)
    # Confusion, reliability, and the number of examples are none of them.
    assert {name.kind for name in numbers} == {
        "accuracy", "recalibrated", "without", "noise", "cross_entropy", "weight", "entropy",
        "calibration_error", "cka", "js_divergence", "entropy_ratio", "multimodal_gain",
    }  # fmt: skip


def test_a_new_analysis_is_told_without_further_ado():
    new = {"f1": 0.25, "sharpness": {"fused": 1.5, "lips": None}, "bent": {"mean": 2.0,
           "standard_error": None}, "notes": ["none"]}  # fmt: skip
    assert analysis_numbers(new) == {
        Name("f1"): (0.25, None),
        Name("sharpness", "fused"): (1.5, None),
        Name("bent"): (2.0, None),
    }
    lines = analysis_text({"test": new}, width=80).splitlines()
    assert [line.split() for line in lines] == [
        ["test"], ["f1", "0.2500"], ["sharpness/fused", "1.5000"], ["bent", "2.0000"],
    ]  # fmt: skip


def test_analyse_without_scores_of_single_modalities(outputs):
    coupled = outputs._replace(scores={"fused": outputs.scores["fused"]})
    found = analysis.analyse(coupled)
    assert found["marginal"] == analysis.analyse(outputs)["marginal"]
    assert "marginal" not in analysis.analyse(coupled._replace(marginal={}))
    assert "js_divergence" not in found
    assert found["accuracy"].keys() == {"fused"}
