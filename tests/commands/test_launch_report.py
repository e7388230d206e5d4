"""`--mode=report`: runs of a folder to a page; wrong arguments."""

import pytest

from tests.command import launch_here
from tests.evaluation.reports.made_runs import config, write_run


def test_reports_on_runs(tmp_path):
    write_run(tmp_path / "runs" / "a")
    write_run(tmp_path / "runs" / "b", config("tcmax"))
    result = launch_here("--mode=report", "--runs=runs/a,runs/*", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "written to report/report.html, report/report.md, report/results.csv\n"
    assert (tmp_path / "report" / "report.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode=report"], "error: Expected --runs=FOLDER,FOLDER/*,... with the folders of"),
        (["--mode=report", "--runs=none"], "error: Expected the folder of a run, a comparis"),
        (
            ["--mode=report", "--runs=a", "--config.seed=1"],
            "error: Expected no --config.seed with --mode=report, which reads finished runs",
        ),
        (
            ["--runs=a"],
            "error: Expected no --runs with --mode=train, which does not read",
        ),
        (["--mode=difference", "--runs=a"], "error: Expected two folders, --runs=A,B, got 1."),
        (["--mode=difference", "--runs=a,b"], "error: Expected an evaluated run, or steps/<step>"),
    ],
)
def test_wrong_arguments(arguments, message, tmp_path):
    result = launch_here(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert not list(tmp_path.iterdir())
