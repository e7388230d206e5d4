"""The table of docs/training.md: what becomes of a run when one of its files is damaged.

Each cell is tried, with every file and every harm of its row. A command ends with the right numbers
or with one message that names the file, and never shows a trace.
"""

import json
import re
import shutil
import zlib
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from tcmax_jax.evaluation.reports import report
from tcmax_jax.training import loop, passes
from tcmax_jax.training.checkpoint_reader import CheckpointReader
from tests.command import launch_here
from tests.harms import HARMS

TABLE = Path(__file__).parents[1] / "docs" / "training.md"
COMMANDS = ("train", "evaluate", "export", "analyse", "report")
CONFIG = [
    f"--config.{field}"
    for field in (
        "data.train_examples=64", "data.validation_examples=60", "data.test_examples=20",
        "data.num_classes=3", "data.audio_shape=[6,6]", "data.visual_shape=[2,6,6]",
        "modalities.audio.encoder.sizes=[8]", "modalities.visual.encoder.sizes=[8]",
        "training.batch_size=32", "training.eval_batch_size=20", "training.epochs=3",
        "training.noise=[]", "training.probe=false",
    )
]  # fmt: skip


class Row(NamedTuple):
    """A line of the table.

    Attributes:
      pattern: of the files, in the folder of the run or in that of the data.
      outcomes: {command: what becomes of it}.
    """

    pattern: str
    outcomes: dict[str, str]


def rows():
    """Returns the lines of the table."""
    text = TABLE.read_text()
    head = text.index("| damaged file |")
    lines = [line.strip("|").split("|") for line in text[head:].split("\n\n")[0].splitlines()]
    cells = [[cell.strip() for cell in line] for line in lines]
    commands = [re.findall(r"`(\w+)`", cell)[0] for cell in cells[0][1:]]
    assert tuple(commands) == COMMANDS
    return [
        Row(re.findall(r"`(.+?)`", name)[0], dict(zip(commands, outcomes, strict=True)))
        for name, *outcomes in cells[2:]
    ]


class Trained(NamedTuple):
    """A folder with data, a run, and what its commands come to."""

    folder: Path
    expected: dict[str, object]


def command(name, folder):
    """Returns what a command comes to in a folder."""
    data, run = f"--data_dir={folder / 'data'}", f"--workdir={folder / 'run'}"
    arguments = {
        "train": [*CONFIG, data, run],
        "evaluate": [data, run],
        "export": [run, f"--export={folder / 'export'}", "--recalibrated"],
        "analyse": [run],
        "report": [f"--runs={folder / 'run'}", f"--workdir={folder / 'report'}"],
    }[name]
    return launch_here(f"--mode={name}", *arguments, cwd=folder)


def numbers(name, folder):
    """Returns the numbers that a command has come to."""
    match name:
        case "train" | "evaluate":
            return json.loads((folder / "run" / "results.json").read_text())
        case "analyse":
            return json.loads((folder / "run" / "analysis.json").read_text())
        case "report":
            return (folder / "report" / "report.md").read_text().replace(str(folder), "")
        case "export":
            model = json.loads((folder / "export" / "model.json").read_text())
            with np.load(folder / "export" / "params.npz") as file:
                return model, {name: file[name].tolist() for name in file.files}


def once(function, key):
    """Returns the function with what it came to before for the same key: others are computed."""
    known = {}

    def cached(*args):
        name = key(*args)
        if name not in known:
            known[name] = function(*args)
        return known[name]

    return cached


def state_key(setup, state, dropped):
    arrays = [np.asarray(x) for x in jax.tree.leaves(jax.device_get(state))]
    return setup.dataset.name, repr(setup.config), *(zlib.crc32(x.tobytes()) for x in arrays)


@pytest.fixture(scope="module", autouse=True)
def _expensive_parts_run_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_evaluations", once(loop._evaluations, state_key))
        patch.setattr(passes, "initial_state", once(passes.initial_state, lambda s: repr(s.config)))
        patch.setattr(report, "draw_runs", lambda *_: {})
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Returns a run that has ended, and the folder of another one on other data."""
    folder, other = (tmp_path_factory.mktemp(name) for name in ("one", "other"))
    assert not command("train", folder).returncode
    changed = ["--config.seed=1", "--config.data.seed=1"]
    arguments = [*CONFIG, *changed, f"--data_dir={other / 'data'}", f"--workdir={other / 'run'}"]
    assert not launch_here(*arguments, cwd=other).returncode
    expected = {}
    for name in COMMANDS:
        result = command(name, folder)
        assert not result.returncode, result.stderr
        expected[name] = numbers(name, folder)
    for name in ("export", "report"):
        shutil.rmtree(folder / name)
    return Trained(folder, expected), other


def files(row, folder):
    """Returns the files of a row: those of the run, or of its data."""
    checkpoints = CheckpointReader(folder / "run" / "checkpoints")
    others = [step for step in checkpoints.steps if step != checkpoints.latest]
    named = {"<latest>": checkpoints.latest, "<best>": checkpoints.best, "<other>": others[0]}
    pattern = row.pattern
    for name, step in named.items():
        pattern = pattern.replace(name, str(step))
    found = (path for path in folder.glob(pattern) if path.is_file())
    return sorted(path for path in found if path.name != "digests.json" or "digests" in pattern)


def replace(path, row, folder, other):
    """Puts the file of the other run in place of one."""
    ours, theirs = files(row, folder), files(row, other)
    shutil.copyfile(theirs[min(ours.index(path), len(theirs) - 1)], path)


def trials():
    """Returns every cell of a file that the command reads, with every harm.

    Of cells for which training has to go on, or that have many files, one harm is enough.
    """
    found = []
    for row in rows():
        for name, outcome in row.outcomes.items():
            long = outcome == "warns" and name == "train"
            long |= "**" in row.pattern and name != "export"
            harms = [*HARMS, "replaced"][: 1 if long else None] if outcome != "-" else []
            found += [(row, name, outcome, harm) for harm in harms]
    return [pytest.param(*each, id=f"{each[0].pattern}-{each[1]}-{each[3]}") for each in found]


@pytest.mark.parametrize(("row", "name", "outcome", "harm"), trials())
def test_a_damaged_file(trained, tmp_path, row, name, outcome, harm):
    template, other = trained
    for number, original in enumerate(files(row, template.folder)):
        folder = shutil.copytree(template.folder, tmp_path / str(number))
        path = folder / original.relative_to(template.folder)
        if harm == "replaced":
            replace(path, row, folder, other)
        else:
            HARMS[harm](path)
        if path.exists() and path.read_bytes() == original.read_bytes():
            continue  # The other run has the same.
        if path.suffix == ".jsonl" and name == "train":  # which reads it where it goes on
            shutil.rmtree(folder / "run" / "checkpoints" / "6")
        before = contents(folder)
        result = command(name, folder)
        check(result, outcome, name, path, folder, template.expected[name])
        if result.returncode:
            assert contents(folder) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_files_that_a_command_does_not_read(trained, tmp_path, name):
    template, _ = trained
    folder = shutil.copytree(template.folder, tmp_path / "all")
    for row in rows():
        for original in files(row, template.folder) if row.outcomes[name] == "-" else []:
            HARMS["emptied"](folder / original.relative_to(template.folder))
    result = command(name, folder)
    check(result, "correct", name, None, folder, template.expected[name])


def contents(folder):
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("lock", "preparing.lock")
    }


def check(result, outcome, name, path, folder, expected):
    said = result.stderr
    assert "Traceback" not in said and "Error" not in said, said
    allowed = {"-": ["correct"], "correct or refused": ["correct", "refused"]}.get(
        outcome, [outcome]
    )
    if result.returncode:
        assert "refused" in allowed, said
        assert said.count("error: ") == 1, said
        assert path.name in said and str(folder) in said, said
    else:
        assert {"correct", "warns"} & set(allowed), said
        assert numbers(name, folder) == expected
        if allowed == ["warns"]:
            assert "warning: " in said and path.name in said, said
