"""Writes a page as HTML and Markdown, with the files of its folder.

A block is one of {"heading", "level"}, {"text"}, {"items": [text]}, {"table": [head, *rows]},
{"figure": name, "caption"}, {"code"} and {"aside": [block]}, a part set apart from the rest. All
texts are shown as they are: none is HTML or Markdown.
Files of an earlier page in the folder are replaced, and no others are touched.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tcmax_jax.evaluation.tables import markdown_code, markdown_table, markdown_text
from tcmax_jax.files import json_text, write_atomically, write_bytes_atomically
from tcmax_jax.user_text import visible

_WRITTEN = "written.json"
_CSS = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 52rem; margin: 0 auto; padding: 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; }
h2 { font-size: 1.25rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1.05rem; margin-top: 1.6rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0;
  border-bottom: 1px solid #e3e3e3; min-width: 3.2rem; }
th { border-bottom: 1px solid #888; }
figure { margin: 1rem 0 1.6rem; }
.wide + .wide { margin-top: 1.4rem; }
.panels { display: flex; flex-wrap: wrap; gap: .8rem 1rem; align-items: flex-start; }
img { display: block; max-width: 100%; height: auto; }
figcaption { font-size: .875rem; color: #444; margin-top: .4rem; }
pre { font-size: .78rem; background: #f5f5f5; padding: .7rem; overflow-x: auto; }
aside { border: 2px dashed #888; padding: 0 1rem .3rem; margin: 1.5rem 0; background: #fafafa; }
aside h3 { margin-top: .8rem; }
@media print {
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  h2, h3 { break-after: avoid; }
  img, aside, tr { break-inside: avoid; }
  table { font-size: 8pt; }
  th, td { padding-right: .5rem; min-width: 0; }
  .wide { overflow: visible; }
  .panels { display: block; }
  img { display: inline-block; max-height: 21cm; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 7pt; }
}
"""


def to_html(title: str, blocks: Sequence[Mapping], pictures: Mapping[str, Sequence[bytes]]) -> str:
    """Returns a self-contained HTML page, see `write_page`."""
    body = "\n".join(_html_block(block, pictures) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_html_text(title)}</title>\n<style>{_CSS}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def to_markdown(blocks: Sequence[Mapping], pictures: Mapping[str, Sequence[bytes]]) -> str:
    """Returns the page as Markdown, which shows the files of `_panel_files`."""
    return "\n\n".join(_markdown_block(block, pictures) for block in blocks) + "\n"


def _panel_files(pictures):
    """Returns {path in the folder of the page: panel} of all figures."""
    return {
        _panel_file(name, number): panel
        for name, panels in pictures.items()
        for number, panel in enumerate(panels, start=1)
    }


def _panel_file(name, number):
    return f"figures/{name}-{number}.svg"


def _html_block(block, pictures):
    match block:
        case {"heading": text, "level": level}:
            return f"<h{level}>{_html_text(text)}</h{level}>"
        case {"text": text}:
            return f"<p>{_html_text(text)}</p>"
        case {"items": items}:
            return f"<ul>{''.join(f'<li>{_html_text(item)}</li>' for item in items)}</ul>"
        case {"table": [head, *rows]}:
            lines = [_html_row(row, "td") for row in rows]
            top = f"<thead>{_html_row(head, 'th')}</thead>\n" if any(head) else ""
            table = f"<table>\n{top}<tbody>\n{''.join(lines)}</tbody>\n</table>"
            return f'<div class="wide">{table}</div>'
        case {"figure": name, "caption": caption}:
            # The caption says what the panels show; the tables have their numbers.
            panels = "".join(
                f'<img alt="{_html_text(name)}, panel {number}" '
                f'src="data:image/svg+xml;base64,{base64.b64encode(panel).decode()}">'
                for number, panel in enumerate(pictures[name], start=1)
            )
            return (
                f'<figure><div class="panels">{panels}</div>'
                f"<figcaption>{_html_text(caption)}</figcaption></figure>"
            )
        case {"code": text}:
            return f"<pre>{html.escape(text)}</pre>"
        case {"aside": inner}:
            return f"<aside>\n{chr(10).join(_html_block(b, pictures) for b in inner)}\n</aside>"


def _html_text(text):
    return html.escape(visible(text))


def _html_row(cells, tag):
    # A number and its interval stay on one line.
    texts = (_html_text(cell).replace(" ±", "&nbsp;±") for cell in cells)
    return f"<tr>{''.join(f'<{tag}>{text}</{tag}>' for text in texts)}</tr>\n"


def _markdown_block(block, pictures):
    match block:
        case {"heading": text, "level": level}:
            return f"{'#' * level} {markdown_text(text)}"
        case {"text": text}:
            return markdown_text(text)
        case {"items": items}:
            return "\n".join(f"- {markdown_text(item)}" for item in items)
        case {"table": rows}:
            return markdown_table(rows)
        case {"figure": name, "caption": caption}:
            files = [_panel_file(name, n) for n in range(1, len(pictures[name]) + 1)]
            links = (f"![{name}, panel {n}]({file})" for n, file in enumerate(files, start=1))
            return "\n".join([*links, "", f"*{markdown_text(caption)}*"])
        case {"code": text}:
            return markdown_code(text)
        case {"aside": inner}:
            text = "\n\n".join(_markdown_block(each, pictures) for each in inner)
            return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def write_page(
    out: Path,
    name: str,
    title: str,
    blocks: Sequence[Mapping],
    pictures: Mapping[str, Sequence[bytes]],
    tables: Mapping[str, str] = MappingProxyType({}),
) -> list[Path]:
    """Writes a page and its tables, and removes files of an earlier page that it lacks.

    written.json keeps {name: SHA-256} of what was written, so that files of others, and files that
    others have changed, are known.

    Args:
      out: folder; made if need be.
      name: of the page's files <name>.html and <name>.md.
      title: of the page.
      blocks: see the module.
      pictures: {name of a figure: its panels as SVG}, written to figures/<name>-<number>.svg.
      tables: {name of a file: its text}.

    Returns:
      The paths of the page and of the tables.

    Raises:
      FileExistsError: a file that no page has written has one of the names; nothing was written.
    """
    texts = {f"{name}.html": to_html(title, blocks, pictures)}
    texts |= {f"{name}.md": to_markdown(blocks, pictures)}
    texts |= tables
    # Names of files may hold bytes that are no text.
    files = {name: text.encode(errors="backslashreplace") for name, text in texts.items()}
    files |= _panel_files(pictures)
    before = _read(out)
    ours = {name for name, digest in before.items() if _digest_of(out / name) == digest}
    strangers = [
        n for n, content in files.items() if n not in ours and _holds_other(out / n, content)
    ]
    if strangers:
        raise FileExistsError(
            f"Expected a folder whose files are those of an earlier page, got {out} with a "
            f"{strangers[0]} that no page has written, or that was changed since. Choose another "
            "--workdir, or move that file away."
        )
    (out / "figures").mkdir(parents=True, exist_ok=True)
    # First the names, so that a page that is not finished is known too.
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    write_atomically(out / _WRITTEN, json_text(before | digests) + "\n")
    for name in ours - files.keys():
        (out / name).unlink()
    for name, content in files.items():
        write_bytes_atomically(out / name, content)
    write_atomically(out / _WRITTEN, json_text(digests) + "\n")
    return [out / name for name in texts]


def _read(out):
    path = out / _WRITTEN
    if not path.exists():
        return {}
    try:
        written = json.loads(path.read_text())
        # Names alone: nothing outside the folder is ever removed.
        return {n: d for n, d in written.items() if not Path(n).is_absolute() and ".." not in n}
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged, so that it is unknown which files here are those of an earlier "
            "page. Choose another --workdir."
        ) from error


def _digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _holds_other(path, content):
    return path.exists() and (not path.is_file() or path.read_bytes() != content)
