"""A whole page: the same bytes again, tables apart, and what it shows said on top."""

import pytest

from tcmax_jax.evaluation.reports.report import write_report
from tests.evaluation.reports.made_runs import config, write_run


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Returns the folders of two reports on the same runs."""
    folder = tmp_path_factory.mktemp("pages")
    for method in ("joint", "tcmax"):
        write_run(folder / "runs" / method, config(method))
    for name in ("first", "second"):
        write_report([f"{folder}/runs/*"], folder / name)
    return folder / "first", folder / "second"


def test_the_same_runs_give_the_same_bytes(pages):
    first, second = (
        {path.relative_to(page): path.read_bytes() for path in page.rglob("*") if path.is_file()}
        for page in pages
    )
    assert first == second


def test_no_two_tables_touch(pages):
    blocks = (pages[0] / "report.md").read_text().split("\n\n")
    tables = [number for number, block in enumerate(blocks) if block.startswith("| ")]
    assert len(tables) > 8
    assert not set(tables) & {number + 1 for number in tables}


def test_what_the_page_shows_comes_before_all_tables(pages):
    _title, _what, shown, *_ = (pages[0] / "report.md").read_text().split("\n\n")
    assert "has the highest fused accuracy, " in shown
    assert shown.endswith(
        "With one seed, a difference between methods cannot be told from one between seeds."
    )
