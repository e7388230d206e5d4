"""Figures draw the numbers they are given, in the colours of the methods."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from tcmax_jax.evaluation.quantities import Name, read_name
from tcmax_jax.evaluation.reports import figures, matrices
from tcmax_jax.evaluation.reports.rows import curves, make_rows
from tcmax_jax.evaluation.reports.style import METHODS, reference, styles
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


def axes_of(panels):
    """Returns {title: axes} of all panels but the legend."""
    return {panel.axes[0].get_title(): panel.axes[0] for panel in panels if panel.axes}


def test_each_method_has_a_look_of_its_own_whatever_it_stands_beside():
    looks = styles(METHODS)
    for second in ("marker", "line"):
        assert len({(look["colour"], look[second]) for look in looks}) == len(METHODS)
    assert len({look["marker"] for look in looks}) == len(METHODS)
    assert styles(["tcmax"]) == [looks[METHODS.index("tcmax")]]
    assert styles(["new"])[0]["colour"] not in {look["colour"] for look in looks}


def test_rows_of_one_method_differ_in_line_fill_and_hatch_alone():
    one, _, other = styles(["mla", "joint", "mla"])
    assert {key for key in one if one[key] != other[key]} == {"line", "fill", "hatch"}


def test_tcmax_and_what_it_is_compared_with_are_bold():
    bold = lambda names: [n for n, look in zip(names, styles(names), strict=True) if look["bold"]]
    assert bold(METHODS) == ["joint", "tcmax"]
    assert bold(["qmf", "tcmax", "mla"]) == ["qmf", "tcmax"]
    assert reference(["qmf", "joint"]) == "joint"


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
    titles = list(axes_of(figures.curves_figure(old)))
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
    legend, *panels = figures.curves_figure(rows, 4)
    axes = axes_of(panels)
    assert list(axes) == [
        "fused accuracy", "accuracy of audio (split)", "accuracy of visual (split)",
        "cross-entropy in training", "cross-entropy", "TC bound", "training loss, joint",
        "training loss, tcmax",
    ]  # fmt: skip
    scales = [ax.get_yscale() for ax in axes.values()]
    assert scales == ["linear"] * 3 + ["log"] * 2 + ["linear"] * 3
    for line, row in zip(axes["fused accuracy"].lines, rows, strict=False):
        assert to_hex(line.get_color()) == row["look"]["colour"].lower()
        assert (line.get_marker(), line.get_linestyle(), line.get_fillstyle()) == tuple(
            row["look"][key] for key in ("marker", "line", "fill")
        )
        first, second = row["curves"][Name("accuracy")]
        expected = [50 * (first[e] + second[e]) for e in (1, 2, 3)]
        assert line.get_ydata() == pytest.approx(expected)
    # Heads that are no sum have no line for a modality alone; the last one is chance.
    assert len(axes["accuracy of audio (split)"].lines) == len(rows[:2]) + 1
    labels = [text.get_text() for text in legend.legends[0].get_texts()]
    assert labels == ["joint, concat", "tcmax, concat", "tcmax, film"]


def test_accuracies_reach_from_nothing_to_all_and_chance_is_seen(rows):
    _, *noise = figures.noise_figure(rows, 4)
    axes = list(axes_of(figures.curves_figure(rows, 4)).values())[:3] + [n.axes[0] for n in noise]
    for ax in axes:
        assert ax.get_ylim() == (0, 100)
        (text,) = [text.get_text() for text in ax.texts]
        assert text == "chance 25.0"
        assert any(set(line.get_ydata()) == {25} for line in ax.lines)
    names = [read_name("without/audio")]
    (bars,) = axes_of(figures.bars_figure(rows, names, {}, 4)).values()
    assert bars.get_xlim() == (0, 100)
    assert "chance 25.0" in [text.get_text() for text in bars.texts]
    assert any(set(line.get_xdata()) == {25} for line in bars.lines)


def test_other_levels_of_chance_lie_in_their_panels(rows):
    axes = axes_of(figures.curves_figure(rows, 4))
    for title, chance in (("cross-entropy", math.log(4)), ("TC bound", 0)):
        low, high = axes[title].get_ylim()
        assert low < chance < high
        assert any(set(line.get_ydata()) == {chance} for line in axes[title].lines)


def test_losses_of_two_methods_are_never_on_one_axis(rows):
    axes = axes_of(figures.curves_figure(rows, 4))
    losses = {title: len(ax.lines) for title, ax in axes.items() if "training loss" in title}
    # The two heads of TCMax have one objective.
    assert losses == {"training loss, joint": 1, "training loss, tcmax": 2}


def test_a_row_that_diverges_does_not_flatten_the_others(rows):
    name = Name("cross_entropy")
    wild = rows[0] | {"label": "wild", "curves": {name: [{1: 2.0, 2: 4e4, 3: 9e9}]}}
    quiet = [rows[0] | {"curves": {name: [{1: x, 2: x / 2, 3: x / 3}]}} for x in (1, 1.1, 1.2)]
    _, panel = figures.curves_figure([*quiet, wild], 4)
    (ax,) = panel.axes
    assert ax.get_ylim()[1] < 10
    assert "cut, lines go up to 9e+09" in [text.get_text() for text in ax.texts]
    assert "^" in [line.get_marker() for line in ax.lines]


def test_bands_of_seeds_are_inside_their_panel(rows):
    axes = axes_of(figures.curves_figure(rows, 4))
    for ax in (axes["training loss, joint"], axes["cross-entropy"]):
        low, high = ax.get_ylim()
        for band in ax.collections:
            heights = band.get_paths()[0].vertices[:, 1]
            assert low < heights.min() and heights.max() < high


def test_a_bound_that_falls_is_cut_and_marked(rows):
    name = Name("tc_bound")
    falling = [rows[0] | {"curves": {name: [{1: 0.5, 2: -50.0, 3: -900.0}]}}]
    _, panel = figures.curves_figure(falling, 4)
    assert -math.log(4) * 1.5 < panel.axes[0].get_ylim()[0] < -math.log(4)
    assert [t.get_text() for t in panel.axes[0].texts][-1] == "cut, lines go down to -900"


def test_bars_are_means_with_dots_for_the_runs(rows):
    name = Name("js_divergence")
    (panel,) = figures.bars_figure(rows, [name], {"js_divergence": math.log(2)})
    (ax,) = panel.axes
    assert (ax.get_title(), ax.get_xlabel()) == ("JS divergence (split)", "nats")
    assert [label.get_text() for label in ax.get_yticklabels()] == [row["label"] for row in rows]
    assert {label.get_fontweight() for label in ax.get_yticklabels()} == {"bold"}
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(
        [row["measures"][name]["mean"] for row in rows[:2]]
    )
    assert [text.get_text() for text in ax.texts] == ["not defined"]


def test_a_bar_that_would_flatten_the_others_is_cut_with_its_number(rows):
    name = Name("new_metric")
    some = [
        rows[0] | {"measures": {name: {"mean": x, "half_width": None}}, "values": {name: [x]}}
        for x in (1.0, 1.2, 0.9, 500.0)
    ]
    (panel,) = figures.bars_figure(some, [name], {})
    assert panel.axes[0].get_xlim()[1] < 2
    assert [text.get_text() for text in panel.axes[0].texts] == ["cut, 500.000"]


def test_an_infinite_ratio_is_said_and_not_drawn(rows):
    name = Name("entropy_ratio")
    broken = [rows[0] | {"measures": {name: {"mean": None, "half_width": None}}}]
    (ax,) = axes_of(figures.bars_figure(broken, [name], {})).values()
    assert [text.get_text() for text in ax.texts] == ["not finite"]
    assert not ax.patches


def test_an_interval_does_not_shrink_the_bars(rows):
    wide = {"mean": 0.5, "half_width": 12.0, "n": 2}
    name = Name("new_metric")
    own = [rows[0] | {"measures": {name: wide}, "values": {name: [0.4, 0.6]}}]
    (ax,) = axes_of(figures.bars_figure(own, [name], {})).values()
    assert 0.6 < ax.get_xlim()[1] < 1.2


def test_confusion_is_in_shares_of_the_true_class_with_counts(rows):
    scale, *panels = matrices.confusion_figure(rows, [f"class {c}" for c in range(4)])
    (ax,) = panels[0].axes
    shares = ax.images[0].get_array()
    assert shares.sum(axis=1).tolist() == pytest.approx([100] * 4)
    assert ax.images[0].get_clim() == (0, 100)
    assert ax.get_title().startswith("joint, concat\n120 examples, ")
    assert ax.get_yticklabels()[0].get_text() == "class 0"
    counts = {tuple(map(int, text.get_position()[::-1])): text.get_text() for text in ax.texts}
    told = np.array(rows[0]["confusion"])
    assert counts == {place: str(n) for place, n in np.ndenumerate(told) if n}
    assert scale.axes[0].get_xlabel() == "share of the true class (%)"


def test_counts_that_nobody_can_read_are_left_out():
    row = {"label": "a", "confusion": (2 * np.eye(13)).tolist()}
    _, panel = matrices.confusion_figure([row], [f"class {c}" for c in range(13)])
    assert not panel.axes[0].texts
    assert panel.axes[0].get_title() == "a\n26 examples, 2 of a class"


def test_reliability_has_a_panel_for_each_row_with_the_number_in_each_bin(rows):
    _, *panels = matrices.reliability_figure(rows)
    assert [panel.axes[0].get_title() for panel in panels] == [row["label"] for row in rows]
    for panel, row in zip(panels, rows, strict=True):
        ax, (below,) = panel.axes[0], panel.axes[0].child_axes
        bins = row["reliability"]["fused"]
        assert [text.get_text() for text in below.texts] == [str(b["count"]) for b in bins]
        assert [bar.get_height() for bar in below.patches] == [b["count"] for b in bins]
        assert (ax.get_xlim(), ax.get_ylim()) == ((0, 100), (0, 100))
        assert (ax.get_ylabel(), below.get_xlabel()) == ("correct (%)", "confidence (%)")


def test_what_a_handful_of_examples_come_to_has_no_dot():
    bins = [
        {"confidence": x, "accuracy": 0.5, "count": n} for x, n in ((0.3, 4), (0.6, 5), (0.9, 300))
    ]
    row = {"label": "a", "look": styles(["joint"])[0], "reliability": {"fused": bins}}
    _, panel = matrices.reliability_figure([row])
    *_, dots = panel.axes[0].lines
    assert list(dots.get_xdata()) == pytest.approx([60, 90])


def test_measures_of_a_head_that_is_no_sum(rows):
    keys = ["train_cross_entropy", "accuracy", "cross_entropy", "tc_bound", "probe/audio"]
    keys += ["entropy/fused", "calibration_error/fused", "cka/audio+visual"]
    keys += [f"without/{m}" for m in ("audio", "visual")]
    keys += [f"noise/{m}={s}" for m in ("audio", "visual") for s in ("0.5", "1", "2")]
    assert set(rows[2]["measures"]) == set(map(read_name, keys))


def test_bars_of_accuracies_have_names_and_an_end(rows):
    names = [read_name(f"without/{m}") for m in ("audio", "visual")]
    axes = axes_of(figures.bars_figure(rows, names, {}))
    titles = [title.replace("\n", " ") for title in axes]
    assert titles == [f"fused accuracy without {m} (split)" for m in ("audio", "visual")]
    assert all(ax.get_xlim() == (0, 100) for ax in axes.values())


def test_noise_starts_from_what_is_clean(rows):
    axes = axes_of(figures.noise_figure(rows, 4))
    assert list(axes) == ["noise on audio", "noise on visual"]
    # The last line is chance.
    *lines, _ = axes["noise on audio"].lines
    for line, row in zip(lines, rows, strict=True):
        runs = [run["analysis"]["test"] for run in row["runs"]]
        clean = sum(a["accuracy"]["fused"] for a in runs) / len(runs)
        worst = sum(a["accuracy_under_noise"]["audio"]["2"] for a in runs) / len(runs)
        assert list(line.get_xdata()) == [0, 0.5, 1, 2]
        assert line.get_ydata()[0] == pytest.approx(100 * clean)
        assert line.get_ydata()[-1] == pytest.approx(100 * worst)
        assert to_hex(line.get_color()) == row["look"]["colour"].lower()
