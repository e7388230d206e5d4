"""Tables of text fit the width, with nothing left out; Markdown and CSV hold the same cells."""

import csv

from tcmax_jax.evaluation.tables import csv_table, markdown_table, text_table

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


def test_markdown_holds_the_cells_whatever_is_in_them():
    assert markdown_table([["name", "value"], ["a|b", "two\nlines"], ["", "-"]]).splitlines() == [
        "| name | value |",
        "| --- | --- |",
        "| a\\|b | two lines |",
        "|  | - |",
    ]


def test_csv_holds_numbers_in_full_precision():
    rows = [["name", "value"], ['a, "b"', 0.1 + 0.2], ["", 1e-17]]
    read = list(csv.reader(csv_table(rows).splitlines()))
    assert read == [["name", "value"], ['a, "b"', "0.30000000000000004"], ["", "1e-17"]]
