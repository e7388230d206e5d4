"""Notebooks run from top to bottom, print what they show, and are small."""

import contextlib
import io
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code_cells(path):
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_run_one_after_the_other(path):
    namespace, printed = {}, io.StringIO()
    for cell in code_cells(path):
        # Lines for the notebook alone, such as %pip.
        code = "".join("\n" if line.startswith("%") else line for line in cell["source"])
        with contextlib.redirect_stdout(printed):
            exec(compile(code, path.name, "exec"), namespace)
    joint, tcmax = namespace["results"].values()
    assert tcmax["picture"] > joint["picture"] + 0.2
    assert namespace["nnx_accuracy"] > 0.95
    # The same words as in the stored output; numbers may round differently elsewhere.
    shown = "".join(x for c in code_cells(path) for o in c["outputs"] for x in o["text"])
    assert letters(printed.getvalue()) == letters(shown)


def letters(text):
    return "".join(c for c in text if c.isalpha() or c == "\n")


def test_there_is_one_and_it_is_small():
    assert NOTEBOOKS
    assert max(path.stat().st_size for path in NOTEBOOKS) < 50_000
