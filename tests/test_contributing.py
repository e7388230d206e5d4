"""The table of CONTRIBUTING names the files in which the code speaks of its stand-ins."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tcmax_jax"
TABLE = (ROOT / "CONTRIBUTING.md").read_text()
# How the code spells a stand-in, where not as the table does.
SPELLINGS = {
    "QMF": r"qmf|QMF",
    "FiLM": r"film|FiLM\w*",
    "VggsoundData": r"vggsound|VggsoundData",
    "FilterBank": r"filter_bank|FilterBank",
    "MLPEncoder": r"MLPEncoder|MLP",
    "AdamW": r"AdamW",
    "export": r"export:export|export",
}
# Files that use a stand-in by choice: defaults and recipes, looks, numbers quoted from the paper.
BY_CHOICE = {
    "data/sources/kinetics_sounds.py",
    "evaluation/reports/report.py",
    "evaluation/reports/style.py",
    "models/convert.py",
    "training/config/recipes.py",
    "training/config/run.py",
}


def rows():
    for line in TABLE.splitlines():
        if line.startswith("| a"):
            _, stand_in, files = line.strip("| ").split(" | ")
            yield stand_in, files


@functools.cache
def words_of_code(path):
    """Returns the names and the texts of the code of a file, docstrings aside."""
    tree = ast.parse(path.read_text())
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    documented = [n for n in ast.walk(tree) if isinstance(n, kinds) and ast.get_docstring(n)]
    docstrings = {id(node.body[0].value) for node in documented}
    words = []
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                words.append(text)
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.ClassDef(name=name):
                words.append(name)
            case ast.FunctionDef(name=name) | ast.alias(name=name) | ast.keyword(arg=name):
                words.append(name or "")
    return {word.rpartition(".")[2] for word in words}


@pytest.mark.parametrize(("stand_in", "files"), list(rows()))
def test_the_files_of_a_stand_in(stand_in, files):
    listed, folder = set(), ""
    for name in re.findall(r"`([\w/]+\.py)`", files):
        if name.startswith("experiments/"):
            assert (ROOT / name).exists()
            continue
        folder = name.rpartition("/")[0] if "/" in name or name == "launch.py" else folder
        listed.add(name if "/" in name or name == "launch.py" else f"{folder}/{name}")
    spelling = SPELLINGS.get(stand_in, stand_in)
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if any(re.fullmatch(spelling, word) for word in words_of_code(path))
    }
    estimators = {name for name in found if name.startswith("estimators/")}
    assert found - estimators - (BY_CHOICE - listed) == listed
