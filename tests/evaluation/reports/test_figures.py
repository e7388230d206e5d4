"""Figures draw the numbers they are given, in the colours of the methods."""

import math

import pytest
from matplotlib.colors import to_hex

from tcmax_jax.evaluation.quantities import Name, read_name
from tcmax_jax.evaluation.reports import figures
from tcmax_jax.evaluation.reports.rows import curves, make_rows
from tcmax_jax.evaluation.reports.style import METHODS, styles
from tests.evaluation.reports.made_runs import config, read_found, write_run


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Rows of joint and of tcmax with two heads, one without predictions of single modalities."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        write_run(folder / f"a{seed}", config("joint", seed=seed))
        write_run(folder / f"b{seed}", config("tcmax", "concat", seed))
        write_run(folder / f"c{seed}", config("tcmax", "film", seed), additive=False)
    return make_rows(read_found([f"{folder}/*"])["runs"], "test")


def test_each_method_has_a_look_of_its_own_whatever_it_stands_beside():
    looks = styles(METHODS)
    assert len({(look["colour"], look["marker"]) for look in looks}) == len(METHODS)
    assert styles(["tcmax"]) == [looks[METHODS.index("tcmax")]]
    assert styles(["new"])[0]["colour"] not in {look["colour"] for look in looks}


def test_rows_of_one_method_differ_in_line_and_hatch_alone():
    one, _, other = styles(["mla", "joint", "mla"])
    assert (one["colour"], one["marker"]) == (other["colour"], other["marker"])
    assert one["line"] != other["line"]
    assert one["hatch"] != other["hatch"]


def test_the_loss_of_an_epoch_is_the_mean_over_its_steps():
    log = [
        {"step": 3, "epoch": 1, "split": "train", "loss": 2.0, "cross_entropy": 1.0},
        {"step": 4, "epoch": 1, "split": "train", "loss": 6.0, "cross_entropy": 3.0},
        {"step": 4, "epoch": 1, "split": "validation", "accuracy": 0.5, "cross_entropy": 1.25},
        {"step": 8, "epoch": 2, "split": "train", "loss": 1.0, "cross_entropy": 0.5},
    ]
    assert curves(log) == {
        Name("loss"): {1: 3.0, 2: 1.0},
        Name("train_cross_entropy"): {1: 1.5, 2: 0.5},
        Name("accuracy"): {1: 0.5},
        Name("cross_entropy"): {1: 1.25},
    }


def test_a_new_metric_of_the_validation_has_a_curve():
    log = [{"step": 4, "epoch": 1, "split": "validation", "f1/lips": 0.5, "probe/lips": 0.5}]
    assert curves(log) == {Name("f1", "lips"): {1: 0.5}}


def test_runs_that_did_not_log_their_cross_entropy_have_no_curve_of_it(rows):
    logged = Name("train_cross_entropy")
    old = [row | {"curves": {n: c for n, c in row["curves"].items() if n != logged}}
           for row in rows]  # fmt: skip
    titles = [ax.get_title() for ax in figures.curves_figure(old).axes if ax.get_visible()]
    assert "cross-entropy in training" not in titles
    assert "TC bound" in titles


def test_bins_of_several_runs_are_those_of_all_their_examples(rows):
    for row in rows:
        for prediction, bins in row["reliability"].items():
            single = [r["analysis"]["test"]["reliability"][prediction] for r in row["runs"]]
            for key in ("confidence", "accuracy"):
                expected = sum(b["count"] * b[key] for own in single for b in own)
                assert sum(b["count"] * b[key] for b in bins) == pytest.approx(expected)
            assert sum(b["count"] for b in bins) == 2 * 60
            assert len(bins) <= 15


def test_curves_are_means_over_seeds_in_the_colour_of_the_method(rows):
    figure = figures.curves_figure(rows, classes=4)
    titles = [ax.get_title() for ax in figure.axes if ax.get_visible()]
    assert titles == [
        "fused accuracy", "accuracy of audio (split)", "accuracy of visual (split)",
        "cross-entropy in training", "cross-entropy", "TC bound", "training loss",
    ]  # fmt: skip
    scales = [ax.get_yscale() for ax in figure.axes[:7]]
    assert scales == ["linear"] * 3 + ["log"] * 2 + ["linear"] * 2
    fused = figure.axes[0]
    for line, row in zip(fused.lines, rows, strict=False):
        assert to_hex(line.get_color()) == row["look"]["colour"].lower()
        first, second = row["curves"][Name("accuracy")]
        expected = [(first[e] + second[e]) / 2 for e in (1, 2, 3)]
        assert line.get_ydata() == pytest.approx(expected)
    # Heads that are no sum have no line for a modality alone; the last one is chance.
    assert len(figure.axes[1].lines) == len(rows[:2]) + 1
    for place, chance in ((0, 1 / 4), (1, 1 / 4), (4, math.log(4)), (5, 0)):
        assert set(figure.axes[place].lines[-1].get_ydata()) == {chance}
    assert len(figure.axes[6].lines) == len(rows)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["joint, concat", "tcmax, concat", "tcmax, film"]


def test_bars_are_means_with_dots_for_the_runs(rows):
    name = Name("js_divergence")
    (ax,) = figures.bars_figure(rows, [name], {"js_divergence": math.log(2)}).axes
    assert (ax.get_title(), ax.get_xlabel()) == ("JS divergence (split)", "nats")
    assert [label.get_text() for label in ax.get_yticklabels()] == [row["label"] for row in rows]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(
        [row["measures"][name]["mean"] for row in rows[:2]]
    )
    assert [text.get_text() for text in ax.texts] == ["not defined"]


def test_an_infinite_ratio_is_said_and_not_drawn(rows):
    name = Name("entropy_ratio")
    broken = [rows[0] | {"measures": {name: {"mean": None, "half_width": None}}}]
    (ax,) = figures.bars_figure(broken, [name], {}).axes
    assert [text.get_text() for text in ax.texts] == ["not finite"]
    assert not ax.patches


def test_an_interval_does_not_shrink_the_bars(rows):
    wide = {"mean": 0.5, "half_width": 12.0, "n": 2}
    name = Name("new_metric")
    own = [rows[0] | {"measures": {name: wide}, "values": {name: [0.4, 0.6]}}]
    (ax,) = figures.bars_figure(own, [name], {}).axes
    assert 0.6 < ax.get_xlim()[1] < 1.2


def test_confusion_is_in_shares_of_the_true_class(rows):
    figure = figures.confusion_figure(rows, [f"class {c}" for c in range(4)])
    shares = figure.axes[0].images[0].get_array()
    assert shares.sum(axis=1).tolist() == pytest.approx([100] * 4)
    assert figure.axes[0].get_title() == "joint, concat"
    assert figure.axes[0].get_yticklabels()[0].get_text() == "class 0"


def test_reliability_has_a_panel_for_each_row(rows):
    figure = figures.reliability_figure(rows)
    assert [ax.get_title() for ax in figure.axes] == [row["label"] for row in rows]


def test_measures_of_a_head_that_is_no_sum(rows):
    keys = ["train_cross_entropy", "accuracy", "cross_entropy", "tc_bound", "probe/audio"]
    keys += ["entropy/fused", "calibration_error/fused", "cka/audio+visual"]
    keys += [f"without/{m}" for m in ("audio", "visual")]
    keys += [f"noise/{m}={s}" for m in ("audio", "visual") for s in ("0.5", "1", "2")]
    assert set(rows[2]["measures"]) == set(map(read_name, keys))


def test_bars_of_accuracies_have_names_and_an_end(rows):
    names = [read_name(f"without/{m}") for m in ("audio", "visual")]
    axes = figures.bars_figure(rows, names, {"without": 1}).axes
    titles = [ax.get_title().replace("\n", " ") for ax in axes]
    assert titles == [f"fused accuracy without {m} (split)" for m in ("audio", "visual")]
    assert all(ax.get_xlim()[1] <= 1.1 for ax in axes)


def test_noise_starts_from_what_is_clean(rows):
    figure = figures.noise_figure(rows)
    audio, visual = (ax for ax in figure.axes if ax.get_visible())
    assert (audio.get_title(), visual.get_title()) == ("noise on audio", "noise on visual")
    for line, row in zip(audio.lines, rows, strict=True):
        runs = [run["analysis"]["test"] for run in row["runs"]]
        clean = sum(a["accuracy"]["fused"] for a in runs) / len(runs)
        worst = sum(a["accuracy_under_noise"]["audio"]["2"] for a in runs) / len(runs)
        assert list(line.get_xdata()) == [0, 0.5, 1, 2]
        assert line.get_ydata()[0] == pytest.approx(clean)
        assert line.get_ydata()[-1] == pytest.approx(worst)
        assert to_hex(line.get_color()) == row["look"]["colour"].lower()
