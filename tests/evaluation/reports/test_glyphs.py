"""Figures show names literally, in fonts that have their characters, or say what stands there."""

import logging
import warnings

import numpy as np
import pytest
from matplotlib.text import Text

from tcmax_jax.evaluation.reports import glyphs, matrices
from tcmax_jax.evaluation.reports.draw import _svg
from tcmax_jax.evaluation.reports.report import write_report
from tests.evaluation.reports.made_runs import write_run

ROW = {"confusion": np.eye(2).tolist(), "label": "tcmax", "look": {}}
# In a font that matplotlib brings along, and not in DejaVu Sans.
SCRIPT_G = "\u210a"


def ticks(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


@pytest.fixture
def no_other_font(monkeypatch):
    """Leaves the one font that comes with matplotlib."""
    monkeypatch.setattr(glyphs, "_others", list)


@pytest.mark.parametrize("name", ["ca$$h", "pays $5 & $10", r"$\frac$"])
def test_dollars_begin_no_formula(name):
    _, figure = matrices.confusion_figure([ROW | {"label": name}], [name, "bird"])
    assert ticks(figure)[0] == name
    assert not any(text.get_parse_math() for text in figure.findobj(Text))
    assert _svg(figure)


def test_another_font_stands_in(caplog):
    assert [len(glyphs.families(text)) for text in ("dog", f"dog {SCRIPT_G}")] == [1, 2]
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        _, figure = matrices.confusion_figure([ROW], [SCRIPT_G, "bird"])
        _svg(figure)
    assert ticks(figure) == [SCRIPT_G, "bird"]
    assert not caplog.records


def test_fonts_with_a_box_for_everything_are_none():
    assert not any(name.startswith("Last Resort") for name in glyphs._others())


def test_usual_names_change_no_font():
    assert glyphs.families("dog, Käse ± é") == ["DejaVu Sans"]


def test_what_no_font_has_is_written_out(no_other_font):
    assert glyphs.drawable("狗 dog\x1b") == "\\u72d7 dog\\x1b"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, figure = matrices.confusion_figure([ROW | {"label": "狗"}], ["cat", "bird"])
        _svg(figure)
    assert figure.axes[0].get_title().startswith("\\u72d7\n")


def test_classes_that_cannot_be_drawn_are_numbers_that_the_page_explains(tmp_path, no_other_font):
    _, figure = matrices.confusion_figure([ROW], ["狗", "a|b"])
    assert ticks(figure) == ["0", "1"]
    assert figure.axes[0].get_xlabel() == "predicted (number of the class)"
    folder = write_run(tmp_path / "run", class_names=["狗", "a|b", "<b>", "$x$"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_report([str(folder)], tmp_path / "out")
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "\nNumbers of the classes: 0 狗, 1 a\\|b, 2 \\<b>, 3 \\$x\\$.\n" in markdown
    assert "0 狗, 1 a|b, 2 &lt;b&gt;, 3 $x$." in (tmp_path / "out" / "report.html").read_text()
