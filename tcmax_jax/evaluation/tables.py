"""Tables as text that fits the terminal, as Markdown and as CSV.

A table is a sequence of rows of cells, the titles first. Text from users is escaped, so that it is
shown literally by terminals, Markdown and spreadsheets.
"""

import re
import shutil
import textwrap
from collections.abc import Sequence

from tcmax_jax.user_text import columns, visible

_GAP = 2
# Marks of Markdown wherever they stand; an underscore inside a word is none. The last two begin
# links where no brackets are.
_MARKS = re.compile(
    r"[\\`*\[\]<|~$#]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|(?<=:)/(?=/)|(?<=\bwww)\."
)
# At the begin of a paragraph: lists, quotes, lines.
_FIRST_MARK = re.compile(r"^(\d*)(?=[-+=>]|(?<=\d)[.)])")
_FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")  # the last four are the same signs, wide
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")


def text_table(rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Lays out cells in aligned columns.

    Titles are broken into lines at spaces. Columns for which the width is too small follow in
    further blocks of lines, below a repetition of the first column.

    Args:
      rows: the titles, then a row of cells each.
      width: columns of text; those of the terminal when None, 80 where there is none.

    Returns:
      The lines, without a newline at the end.
    """
    width = width or shutil.get_terminal_size().columns
    laid_out = [_column(list(map(visible, cells))) for cells in zip(*rows, strict=True)]
    blocks = [laid_out[:1]]
    for column in laid_out[1:]:
        if len(blocks[-1]) > 1 and _width([*blocks[-1], column]) > width:
            blocks.append(laid_out[:1])
        blocks[-1].append(column)
    return "\n\n".join(_lines(block) for block in blocks)


def markdown_text(text: str) -> str:
    r"""Returns a text as a paragraph, heading or item of Markdown that shows it literally.

    Example:
      >>> print(markdown_text("*x* <b> 1|2 a_b"))
      \*x\* \<b> 1\|2 a_b
      >>> print(markdown_text("- [x](y)"))
      \- \[x\](y)
    """
    return _FIRST_MARK.sub(r"\1\\", _inline(text).strip())


def markdown_code(text: str) -> str:
    """Returns lines of a shell as a Markdown code block, whatever backticks are in them."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{text}\n{fence}"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Lays out cells as Markdown, without a newline at the end; see `markdown_text`."""
    head, *rest = ([_inline(cell) for cell in cells] for cells in rows)
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def csv_table(rows: Sequence[Sequence]) -> str:
    """Lays out cells as CSV; numbers in full precision.

    Spreadsheets take text that begins with one of = + - @ tab and carriage return for a formula,
    and run it. Such text, unless it is a plain number, gets an apostrophe in front, and so does
    text that begins with an apostrophe: whoever takes one off where there is one has the text.
    """
    return "".join(",".join(map(_csv_cell, cells)) + "\n" for cells in rows)


def _inline(text):
    return _MARKS.sub(r"\\\g<0>", visible(text))


def _csv_cell(cell):
    text = "" if cell is None else str(cell)
    if isinstance(cell, str) and text.startswith(("'", *_FORMULA)) and not _NUMBER.fullmatch(text):
        text = f"'{text}"
    # More than a CSV file needs: spreadsheets may split lines at semicolons and tabs as well.
    if any(mark in text for mark in ',;"\t\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _column(cells):
    """Returns a column as lines of equal width: its title, then a line for each cell."""
    title, *cells = cells
    longest = max([columns(cell) for cell in [*cells, *title.split()]] + [1])
    lines = textwrap.wrap(title, longest) or [""]
    widest = max(map(columns, [*lines, *cells]))
    return [_padded(line, widest) for line in lines], [_padded(cell, widest) for cell in cells]


def _padded(text, width):
    return text + " " * (width - columns(text))


def _width(block):
    return sum(columns((title + cells)[0]) for title, cells in block) + _GAP * (len(block) - 1)


def _lines(block):
    height = max(len(title) for title, _ in block)
    padded = [
        [_padded("", columns(title[0]))] * (height - len(title)) + title + cells
        for title, cells in block
    ]
    return "\n".join((" " * _GAP).join(line).rstrip() for line in zip(*padded, strict=True))
