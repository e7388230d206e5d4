"""Tables of text fit the width, with nothing left out."""

from tcmax_jax.evaluation.tables import text_table

ROWS = [
    ["method", "fused accuracy", "audio (split)", "picture (split)"],
    ["joint", ".907 ±.009", ".903", "-"],
    ["tcmax", ".985", ".898", ".882"],
]


def test_titles_break_where_the_cells_are_narrower():
    assert text_table(ROWS, 80).splitlines() == [
        "        fused       audio    picture",
        "method  accuracy    (split)  (split)",
        "joint   .907 ±.009  .903     -",
        "tcmax   .985        .898     .882",
    ]


def test_what_does_not_fit_follows_below_the_first_column():
    table = text_table(ROWS, 27)
    assert table.splitlines() == [
        "        fused       audio",
        "method  accuracy    (split)",
        "joint   .907 ±.009  .903",
        "tcmax   .985        .898",
        "",
        "        picture",
        "method  (split)",
        "joint   -",
        "tcmax   .882",
    ]


def test_one_column_may_be_wider_than_all_there_is():
    assert text_table([["a", "b"], ["long text", "c"]], 5).splitlines() == [
        "a          b",
        "long text  c",
    ]


def test_the_width_is_that_of_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "27")
    assert text_table(ROWS) == text_table(ROWS, 27)
