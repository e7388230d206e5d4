"""Axes follow the many rows, and what leaves them is marked."""

import numpy as np
import pytest

from tcmax_jax.evaluation.reports.panels import inner_ends, mark_cut, panel


@pytest.mark.parametrize(
    ("lines", "ends"),
    [
        ([[1, 2], [1.5, 2.5], [1.2, 2.2]], (1, 2.5)),
        # A row that lies far from all others.
        ([[1, 2], [1.5, 2.5], [1.2, 2.2], [900, 1000]], (1, 2.5)),
        ([[1, 2], [1.5, 2.5], [1.2, 2.2], [-900, 2]], (1, 2.5)),
        # A single number that lies far from its neighbours, within a line.
        ([[3, 2, 1000, 1.5, 1]], (1, 3)),
        # The begin and the end of a line are no accident.
        ([[1000, 3, 2, 1]], (1, 1000)),
        ([[1, 2, 3, 1000]], (1, 1000)),
        # Of two nobody can say which one is the outlier.
        ([[1], [1000]], (1, 1000)),
        ([[1], [1], [1], [4]], (1, 4)),
        # Little is gained by leaving it out.
        ([[1, 2], [1.5, 2.5], [1.2, 2.2], [3, 5]], (1, 5)),
        ([[7]], (7, 7)),
    ],
)
def test_ends_without_what_would_flatten_the_rest(lines, ends):
    assert inner_ends(lines) == ends


def test_lines_that_leave_a_panel_are_marked_in_their_colour():
    _, ax = panel("a", xlabel="epoch")
    ax.plot([1, 2, 3], [1, 50, 2], "o-", color="#ff0000")
    ax.plot([1, 2, 3], [1, 2, -9], "s-", color="#0000ff")
    # A level is no line of a row, and neither is the end of an interval.
    ax.axhline(100)
    ax.errorbar([1], [1], [70], capsize=2, marker="o")
    ax.set_ylim(0, 4)
    mark_cut(ax)
    up, down = ax.lines[-2:]
    assert (up.get_marker(), up.get_color()) == ("^", "#ff0000")
    np.testing.assert_array_equal(up.get_data(), [[2], [4]])
    assert (down.get_marker(), down.get_color()) == ("v", "#0000ff")
    np.testing.assert_array_equal(down.get_data(), [[3], [0]])
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["cut, lines go up to 50", "cut, lines go down to -9"]
    assert ax.get_ylim() == (0, 4)


def test_nothing_is_marked_where_nothing_is_cut():
    _, ax = panel("a")
    ax.plot([1, 2], [1, 2], "o-")
    before = len(ax.lines)
    mark_cut(ax)
    assert (len(ax.lines), len(ax.texts)) == (before, 0)
