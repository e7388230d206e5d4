"""Tables of text fit the width, with nothing left out; Markdown and CSV hold the same cells."""

import csv
import html
import io
import re

import pytest
from markdown_it import MarkdownIt

from tcmax_jax.evaluation.tables import (
    csv_table,
    markdown_code,
    markdown_table,
    markdown_text,
    text_table,
)

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


NAMES = [
    "a|b", "a\\|b", "*x*", "__x__", "_a", "a_b", "~~x~~", "$x$", "`x`", "a``b`c", "&lt;", "A & B",
    "<script>alert(1)</script>", "[x](javascript:alert(1))", "![x](y)", "<http://a.b>", "[x]: /url",
    "http://a.b", "www.a.b", "line\nbreak", "# h", "h #", "1. a", "1) a", "- a", "+ a", "-", "> q",
    "---", "===", "* * *", "\\", "    code", "2024.5", "\x1b[31m",
]  # fmt: skip
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


@pytest.mark.parametrize("name", NAMES)
def test_markdown_shows_a_name_as_it_is(name):
    shown = name.replace("\n", " ").replace("\x1b", "\\x1b").strip()
    table = markdown_table([["h"], [name]])
    for text, pattern in (
        (markdown_text(name), "<p>(.*)</p>"),
        (f"# {markdown_text(name)}", "<h1>(.*)</h1>"),
        (f"- {markdown_text(name)}", "<ul>\n<li>(.*)</li>\n</ul>"),
        (table, "(?s:.*)<tbody>\n<tr>\n<td>(.*)</td>\n</tr>\n</tbody>\n</table>"),
    ):
        found = re.fullmatch(pattern, MARKDOWN.render(text).strip())
        assert found, text
        assert html.unescape(found[1]) == shown


def test_bare_addresses_become_no_links():
    assert markdown_text("http://a.b, www.a.b") == r"http:\//a.b, www\.a.b"


def test_backticks_do_not_end_a_block_of_code():
    text = "again '\n```\n# h\n'"
    assert MARKDOWN.render(markdown_code(text)).count("<h1>") == 0
    assert markdown_code("ls") == "```sh\nls\n```"


def test_text_that_a_spreadsheet_would_run_is_quoted_and_read_back():
    texts = [
        "=cmd|' /C calc'!A0", "+a", "-a", "@a", "\ta", "\ra", "\uff1da", "'a", "''=a", "-5",
        "+1.5e3", "a", "", "-", "a;=b", "a\rb", "a\nb", 'a,"b"', " =a",
    ]  # fmt: skip
    text = csv_table([texts, [-1.5] * len(texts)])
    cells, numbers = csv.reader(io.StringIO(text, newline=""))
    run = [cell for cell in cells if cell.startswith(tuple("=+-@\t\r\uff1d"))]
    assert run == ["-5", "+1.5e3"]
    assert [cell.removeprefix("'") for cell in cells] == texts
    assert numbers == ["-1.5"] * len(texts)
    assert '"a;=b"' in text  # Where semicolons divide cells, this is one.


def test_wide_and_control_characters_keep_the_columns():
    rows = [["class", "n"], ["狗", "1"], ["a\x1b[2J\nb", "2"]]
    assert text_table(rows, 80).splitlines() == [
        "class       n",
        "狗          1",
        "a\\x1b[2J b  2",
    ]
