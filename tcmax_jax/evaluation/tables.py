"""Tables of cells as text that fits the terminal, as Markdown and as CSV.

A table is a sequence of rows of cells, the titles first.
"""

import csv
import io
import shutil
import textwrap
from collections.abc import Sequence

_GAP = 2


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
    columns = [_column(cells) for cells in zip(*rows, strict=True)]
    blocks = [columns[:1]]
    for column in columns[1:]:
        if len(blocks[-1]) > 1 and _width([*blocks[-1], column]) > width:
            blocks.append(columns[:1])
        blocks[-1].append(column)
    return "\n\n".join(_lines(block) for block in blocks)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Lays out cells as Markdown, without a newline at the end."""
    head, *rest = rows
    lines = [
        [cell.replace("|", "\\|").replace("\n", " ") for cell in cells]
        for cells in (head, ["---"] * len(head), *rest)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def csv_table(rows: Sequence[Sequence]) -> str:
    """Lays out cells as CSV; numbers in full precision."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _column(cells):
    """Returns a column as lines of equal width: those of its title, then one a cell."""
    title, *cells = cells
    longest = max([len(cell) for cell in cells] + [len(word) for word in title.split()] + [1])
    lines = textwrap.wrap(title, longest) or [""]
    widest = max(map(len, [*lines, *cells]))
    return [line.ljust(widest) for line in lines], [cell.ljust(widest) for cell in cells]


def _width(block):
    return sum(len((title + cells)[0]) for title, cells in block) + _GAP * (len(block) - 1)


def _lines(block):
    height = max(len(title) for title, _ in block)
    padded = [
        [" " * len(title[0])] * (height - len(title)) + title + cells for title, cells in block
    ]
    return "\n".join((" " * _GAP).join(line).rstrip() for line in zip(*padded, strict=True))
