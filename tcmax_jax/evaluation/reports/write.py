"""From the folders of finished runs and studies to a page about them."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tcmax_jax.evaluation.comparison import compare, comparison_csv
from tcmax_jax.evaluation.reports.content import contents, title_of
from tcmax_jax.evaluation.reports.draw import draw_runs, draw_study
from tcmax_jax.evaluation.reports.folder import write_pages
from tcmax_jax.evaluation.reports.page import to_html, to_markdown
from tcmax_jax.evaluation.reports.rows import make_rows, numbers
from tcmax_jax.evaluation.reports.runs import find_folders, read_runs
from tcmax_jax.evaluation.reports.studies import read_study, study_blocks, study_csv_rows

_BASELINE = "joint"


def write_report(patterns: Sequence[str], out: Path) -> list[Path]:
    """Writes report.html, which needs nothing beside it, report.md with figures/, and CSV files.

    Args:
      patterns: see `tcmax_jax.evaluation.reports.runs.find_folders`.
      out: folder to write to; files of an earlier page there are replaced, no others.

    Returns:
      The paths of report.html and report.md, of results.csv where there are runs, and of
      studies.csv where there are studies.

    Raises:
      ValueError: see `find_folders`, `read_runs` and `read_study`.
      OSError: the folder cannot be written, or has files of these names that no page has written.
    """
    run_folders, study_folders = find_folders(patterns)
    studies = [read_study(folder) for folder in study_folders]
    read = read_runs(run_folders) if run_folders else {"runs": [], "failed": []}
    title = title_of(read["runs"], studies)
    blocks, pictures, texts = _about_runs(**read, title=title) if run_folders else ([], {}, {})
    for number, study in enumerate(studies, start=1):
        name = f"study-{number}"
        pictures[name] = draw_study(study)
        blocks += study_blocks(study, name, 2 if run_folders or number > 1 else 1)
    if studies:
        texts["studies.csv"] = _csv(studies)
    texts = {
        "report.html": to_html(title, blocks, pictures),
        "report.md": to_markdown(blocks),
        **texts,
    }
    return write_pages(out, texts, pictures)


def _about_runs(runs, failed, title):
    """Returns the blocks, the pictures and the other files of a report on runs."""
    split = "test" if all("test" in run["results"]["splits"] for run in runs) else "validation"
    rows = make_rows(runs, split)
    plain = [
        {name: run[name] for name in ("method", "fusion", "seed")}
        | {"metrics": numbers(run, split)}
        for run in runs
    ]
    methods = [run["method"] for run in runs]
    comparison = compare(plain, failed, _BASELINE if _BASELINE in methods else methods[0])
    pictures = draw_runs(rows, runs[0]["data"]["class_names"])
    blocks = contents(runs, failed, rows, comparison, list(pictures), split, title)
    return blocks, pictures, {"results.csv": comparison_csv(plain, failed)}


def _csv(studies):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, study in enumerate(studies):
        head, *rows = study_csv_rows(study)
        writer.writerows(rows if number else [head, *rows])
    return text.getvalue()
