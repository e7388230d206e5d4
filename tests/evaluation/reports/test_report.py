"""The whole page: where its numbers come from, and that it stands alone."""

import csv
import json
import math
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tcmax_jax.evaluation.reports import draw
from tcmax_jax.evaluation.reports.provenance import commands
from tcmax_jax.evaluation.reports.report import QUOTED, write_report
from tcmax_jax.launch import split_overrides
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.overrides import override
from tcmax_jax.training.config.tree import to_dict
from tests.evaluation.reports.made_runs import ENVIRONMENT, config, read_found, write_run

SEEDS = (0, 1, 4)
# Student's 97.5 % quantile with two degrees of freedom, from a printed table.
T = 4.302653
SLOWER = {"optimizer": {"learning_rate": 0.0125}}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Returns the folders of the runs by row, and that of the report on them."""
    folder = tmp_path_factory.mktemp("report")
    rows = {
        ("joint", "concat"): config,
        ("tcmax", "concat"): lambda **k: config("tcmax", changes=SLOWER, **k),
        ("tcmax", "film"): lambda **k: config("tcmax", "film", **k),
        ("mla (projection=off)", "share_head"): lambda **k: config("mla", "share_head", **k),
        ("mla (projection=owm)", "share_head"): lambda **k: config(
            "mla", "share_head", projection="owm", **k
        ),
    }
    runs = {}
    for number, (row, make) in enumerate(rows.items()):
        runs[row] = [
            write_run(
                folder / "runs" / f"{number}-{seed}",
                make() | {"seed": seed},
                additive=row[1] != "film",
                marginal=row[0] != "joint",  # evaluated by an earlier version
                checksum="0123abcd",
            )
            for seed in SEEDS
        ]
    written = write_report([f"{folder}/runs/*"], folder / "out")
    assert [path.name for path in written] == ["report.html", "report.md", "results.csv"]
    return runs, folder / "out"


@pytest.fixture
def unpainted(monkeypatch):
    """Leaves out what takes most of the time, for tests of what is said."""
    monkeypatch.setattr(draw, "_svg", lambda figure: b"")


def tables(markdown):
    """Returns the tables of a Markdown text as lists of rows of cells, the head first."""
    found, inside = [], False
    for line in markdown.splitlines():
        line = line.removeprefix("> ")
        if line.startswith("| "):
            if not inside:
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split(" | ")])
        inside = line.startswith("| ")
    return [[head, *rows] for head, _, *rows in found]


class Page(HTMLParser):
    """Reads the tables and the addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.addresses, self._cell = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.addresses += [v for name, v in attributes if name in ("src", "href", "srcset")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data.replace("\xa0", " ")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self._cell)
            self._cell = None


def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


def recalibration(folder):
    return read(folder, "analysis")["test"].get("recalibration")


def spread(values):
    return T * np.std(values, ddof=1) / math.sqrt(len(values))


def share(values):
    """Returns an accuracy as the table has it."""
    return " ±".join(f"{100 * x:.1f}" for x in (np.mean(values), spread(values)))


def test_every_number_of_the_results_comes_from_the_files(report):
    runs, out = report
    head, *rows = tables((out / "report.md").read_text())[0]
    assert head == ["method", "fusion", "seeds", "fused (%)", "recalibrated (%)",
                    "audio (marginal, %)", "visual (marginal, %)", "audio (split, %)",
                    "visual (split, %)", "audio (probe) (%)", "minus joint"]  # fmt: skip
    metrics = {
        row: [read(folder, "results")["splits"]["test"] for folder in folders]
        for row, folders in runs.items()
    }
    for row, folders in runs.items():
        for own, folder in zip(metrics[row], folders, strict=True):
            if found := recalibration(folder):
                own["recalibrated"] = found["accuracy"]
    names = ("accuracy", "recalibrated", "marginal/accuracy/audio", "marginal/accuracy/visual",
             "accuracy/audio", "accuracy/visual", "probe/audio")  # fmt: skip
    base = [m["accuracy"] for m in metrics["joint", "concat"]]
    assert len(rows) == len(runs)
    for method, fusion, seeds, *cells, difference in rows:
        own = metrics[method, fusion]
        assert seeds == str(len(SEEDS))
        for name, cell in zip(names, cells, strict=True):
            assert cell == (share([m[name] for m in own]) if name in own[0] else "-")
        gaps = [100 * (m["accuracy"] - b) for m, b in zip(own, base, strict=True)]
        head = "" if fusion == "concat" else " (concat)"
        expected = f"{np.mean(gaps):+.1f} ±{spread(gaps):.1f}{head}"
        assert difference == ("-" if method == "joint" else expected)


def test_every_number_of_the_analyses_comes_from_the_files(report):
    runs, out = report
    wanted = {
        "recalibrated accuracy (%)": lambda a: a["recalibration"]["accuracy"],
        "calibration error, recalibrated (points)": lambda a: a["recalibration"][
            "calibration_error"
        ],
        "weight of audio": lambda a: a["recalibration"]["weights"]["audio"],
        "weight of visual": lambda a: a["recalibration"]["weights"]["visual"],
        "linear CKA, audio and visual": lambda a: a["cka"]["audio+visual"],
        "entropy, fused (nats)": lambda a: a["entropy"]["fused"],
        "calibration error, fused (points)": lambda a: a["calibration_error"]["fused"],
    }
    for by, of in (("split", lambda a: a), ("marginal", lambda a: a["marginal"])):
        wanted |= {
            f"JS divergence ({by}, nats)": lambda a, of=of: of(a)["js_divergence"]["mean"],
            f"entropy ratio ({by})": lambda a, of=of: of(a)["entropy_ratio"],
            f"multimodal gain ({by}, points)": lambda a, of=of: 100 * of(a)["multimodal_gain"],
        }
        for title, key in (
            ("entropy, {} ({}, nats)", "entropy"),
            ("calibration error, {} ({}, points)", "calibration_error"),
            ("fused accuracy without {} ({}, %)", "accuracy_without"),
        ):
            for m in ("audio", "visual"):
                wanted[title.format(m, by)] = lambda a, of=of, key=key, m=m: of(a)[key][m]
    for other in ("audio", "visual"):
        for s in ("0.5", "1", "2"):
            title = f"fused accuracy with noise on {other} ({s} std) (%)"
            wanted[title] = lambda a, m=other, s=s: a["accuracy_under_noise"][m][s]
    (losses, *tables_of_analyses) = tables((out / "report.md").read_text())[1:6]
    assert losses[0][2:] == [
        "cross-entropy in training (nats)", "cross-entropy (nats)",
        "cross-entropy, audio (marginal, nats)", "cross-entropy, visual (marginal, nats)",
        "cross-entropy, audio (split, nats)", "cross-entropy, visual (split, nats)",
        "cross-entropy, recalibrated (nats)",
    ]  # fmt: skip
    for method, fusion, *cells in losses[1:]:
        logs = [(f / "metrics.jsonl").read_text().splitlines() for f in runs[method, fusion]]
        # The last epoch has a window of three steps and one of a single step.
        windows = [
            [e["cross_entropy"] for e in map(json.loads, log) if e["split"] == "train"][-2:]
            for log in logs
        ]
        trained = [(3 * first + second) / 4 for first, second in windows]
        own = [read(f, "results")["splits"]["test"]["cross_entropy"] for f in runs[method, fusion]]
        analyses = [read(f, "analysis")["test"] for f in runs[method, fusion]]
        by_parts = [each["cross_entropy"] for each in analyses]
        by_marginals = [each.get("marginal", {}).get("cross_entropy", {}) for each in analyses]
        alone = [
            [x[m] for x in told if m in x]
            for told in (by_marginals, by_parts)
            for m in ("audio", "visual")
        ]
        again = [x["cross_entropy"] for x in map(recalibration, runs[method, fusion]) if x]
        for values, cell in zip((trained, own, *alone, again), cells, strict=True):
            assert cell == (f"{np.mean(values):.3f} ±{spread(values):.3f}" if values else "-")
    seen = []
    for head, *rows in tables_of_analyses:
        for method, fusion, *cells in rows:
            analyses = [read(folder, "analysis")["test"] for folder in runs[method, fusion]]
            for title, cell in zip(head[2:], cells, strict=True):
                seen.append(title)
                try:
                    values = [wanted[title](analysis) for analysis in analyses]
                except KeyError:
                    assert cell == "-"
                    assert "marginal" in title if method == "joint" else fusion == "film"
                    continue
                if title.endswith("nats)"):
                    expected = f"{np.mean(values):.3f} ±{spread(values):.3f}"
                elif title.startswith("multimodal gain"):
                    expected = f"{np.mean(values):+.1f} ±{spread(values):.1f}"
                elif title.endswith(("%)", "points)")):
                    expected = share(values)
                else:
                    shares = (f"{x:.3f}" for x in (np.mean(values), spread(values)))
                    expected = " ±".join(text.removeprefix("0") for text in shares)
                assert cell == expected
    assert set(seen) == set(wanted)


def test_every_number_on_what_was_run_is_in_the_files(report):
    runs, out = report
    files = [
        path
        for folders in runs.values()
        for folder in folders
        for path in folder.iterdir()
        if path.suffix in (".json", ".jsonl")
    ]
    there = set(re.findall(r"[\d.]+", " ".join(path.read_text() for path in files)))
    there |= {"4"}  # classes, which the files list by name
    for table in tables((out / "report.md").read_text())[6:]:
        for row in table:
            # The folder of a run is where it lies, not what is in it.
            text = " ".join(cell for cell in row if "/runs/" not in cell)
            assert set(re.findall(r"[\d.]*\d", text)) <= there, row
    assert ENVIRONMENT["devices"] in (out / "report.md").read_text()


def test_small_numbers_are_not_told_as_zero(tmp_path, unpainted):
    folder = write_run(tmp_path / "a")
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines = [json.dumps(e | {"cross_entropy": 0.00025}) + "\n" for e in log]
    (folder / "metrics.jsonl").write_text("".join(lines))
    write_report([str(folder)], tmp_path / "out")
    losses = tables((tmp_path / "out" / "report.md").read_text())[1]
    assert losses[0][2] == "cross-entropy in training (nats)"
    assert losses[1][2] == "2.5e-04"


def test_what_differs_is_told(report):
    _, out = report
    text = (out / "report.md").read_text()
    (differences,) = [t for t in tables(text) if t[0] == ["field", "value", "runs"]]
    assert [row[:2] for row in differences[1:]] == [
        ["optimizer.learning_rate", "0.03"],
        ["optimizer.learning_rate", "0.0125"],
    ]
    assert differences[2][2] == "; ".join(f"tcmax, concat, seed {seed}" for seed in SEEDS)
    assert "Beware" not in text


def test_the_page_stands_alone_and_says_what_the_markdown_says(report):
    _, out = report
    text = (out / "report.html").read_text()
    page, markdown = Page(text), (out / "report.md").read_text()
    assert [t if any(t[0]) else t[1:] for t in tables(markdown)] == page.tables
    assert page.addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    assert not re.search(r"https?://|url\(|@import|<script|<link", text)
    for caption in re.findall(r"^\*(.+)\*$", markdown, flags=re.MULTILINE):
        assert caption.replace("'", "&#x27;") in text


def test_figures_of_the_markdown_are_there_and_no_others(report):
    _, out = report
    linked = re.findall(r"!\[.*?\]\((.*?)\)", (out / "report.md").read_text())
    assert sorted(linked) == sorted(f"figures/{p.name}" for p in (out / "figures").iterdir())
    names = dict.fromkeys(re.sub(r"figures/(.*)-\d+\.svg", r"\1", name) for name in linked)
    assert list(names) == ["curves", "modalities", "entropy", "missing", "noise", "calibration",
                           "reliability", "confusion"]  # fmt: skip
    for name in linked:
        assert b"<svg" in (out / name).read_bytes()


def test_the_csv_has_a_line_for_each_run_in_full_precision(report):
    runs, out = report
    lines = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert len(lines) == len(runs) * len(SEEDS)
    for line in lines:
        folder = runs[line["method"], line["fusion"]][SEEDS.index(int(line["seed"]))]
        analysis = read(folder, "analysis")["test"]
        assert float(line["accuracy"]) == read(folder, "results")["splits"]["test"]["accuracy"]
        assert float(line["entropy/fused"]) == analysis["entropy"]["fused"]
        if line["fusion"] != "film":
            assert float(line["js_divergence"]) == analysis["js_divergence"]["mean"]


def test_the_commands_give_the_configurations_of_the_runs(report):
    runs, _ = report
    folders = [str(folder) for own in runs.values() for folder in own]
    described = read_found(folders)["runs"]
    # In place of Python something that tells its arguments, one a line, and where they end.
    shell = 'python() { printf "%s\\n" "$@" END; }\n' + commands(described)
    told = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True).stdout
    workdirs = set()
    for run, call in zip(described, told.split("END\n")[:-1], strict=True):
        overrides, rest = split_overrides(call.splitlines())
        stored = json.loads((Path(run["folder"]) / "config.json").read_text())
        assert to_dict(override(Config(), overrides)) == stored
        assert rest[0] == "launch.py"
        workdirs.add(rest[1])
    assert len(workdirs) == len(described)


def test_runs_of_one_row_that_differ_in_more_than_their_seed_are_told_of(tmp_path, unpainted):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", config(seed=1, changes=SLOWER))
    write_report([f"{tmp_path}/*"], tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert (
        "Beware: the runs of joint, concat differ in more than their seeds "
        "(optimizer.learning_rate)" in text
    )


def test_one_method_alone_has_no_differences(tmp_path, unpainted):
    write_run(tmp_path / "run", config("tcmax"))
    write_report([str(tmp_path / "run")], tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert tables(text)[0][0][-1] == "audio (probe) (%)"
    assert "difference of fused accuracy" not in text


def test_quoted_numbers_stand_apart_and_only_beside_their_data_set(report, tmp_path, unpainted):
    assert "Quoted" not in (report[1] / "report.md").read_text()
    folder = write_run(tmp_path / "run")
    tree = read(folder, "config")
    tree["data"]["kind"] = "crema_d_av"
    (folder / "config.json").write_text(json.dumps(tree))
    write_report([str(folder)], tmp_path / "out")
    markdown = (tmp_path / "out" / "report.md").read_text()
    quoted = [line for line in markdown.splitlines() if line.startswith(">")]
    assert quoted[0] == "> ### Quoted from the paper, not measured here"
    assert tables("\n".join(quoted))[0][1:] == [list(row) for row in QUOTED["crema_d_av"]]
    assert {"82.7", "74.4", "1.549", "2.913"} <= set(re.findall(r"[\d.]*\d", "\n".join(quoted)))
    assert "Source: TCMax (ICLR 2026, arXiv 2602.13015)" in quoted[-1]
    aside = (tmp_path / "out" / "report.html").read_text().split("<aside>")[1].split("</aside>")[0]
    assert "82.7" in aside


def test_failed_runs_are_listed(tmp_path, unpainted):
    write_run(tmp_path / "joint-concat-seed0")
    failed = write_run(tmp_path / "tcmax-concat-seed0", config("tcmax"))
    (failed / "results.json").unlink()
    reason = {"method": "tcmax", "fusion": "concat", "seed": 0, "reason": "loss = nan"}
    (tmp_path / "comparison.json").write_text(json.dumps({"failed": [reason]}))
    write_report([str(tmp_path)], tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "- failed: tcmax, concat, seed 0: loss = nan" in text
    assert "| tcmax | concat | 0 (failed: seed 0) | - |" in text


def test_confusion_of_many_classes_is_left_out_and_an_old_report_replaced(tmp_path, unpainted):
    write_run(tmp_path / "few", classes=60)
    write_run(tmp_path / "many", classes=61)
    write_report([str(tmp_path / "few")], tmp_path / "out")
    assert (tmp_path / "out" / "figures" / "confusion-1.svg").exists()
    write_report([str(tmp_path / "many")], tmp_path / "out")
    assert not (tmp_path / "out" / "figures" / "confusion-1.svg").exists()
    assert "Confusion" not in (tmp_path / "out" / "report.md").read_text()


def test_the_time_of_a_run_is_that_of_its_steps(tmp_path, unpainted):
    # Two windows: 30 steps of 64 examples at 96 a second, 10 at 64 a second.
    folder = write_run(tmp_path / "a")
    rates = [(30, 96.0), (40, 64.0)]
    kept = [line for line in (folder / "metrics.jsonl").read_text().splitlines() if "valid" in line]
    train = [
        json.dumps({"step": s, "epoch": 1, "split": "train", "loss": 1.0, "examples_per_second": r})
        for s, r in rates
    ]
    (folder / "metrics.jsonl").write_text("\n".join([*train, *kept]) + "\n")
    write_report([str(folder)], tmp_path / "out")
    [table] = [t for t in tables((tmp_path / "out" / "report.md").read_text()) if "folder" in t[0]]
    assert table[0][-1] == "time of steps (s)"
    assert table[1][-1] == "30"
