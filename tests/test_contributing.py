"""The table of CONTRIBUTING names the files in which the code speaks of its stand-ins."""

import ast
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
    "Vggsound": r"vggsound|Vggsound\w*",
    "FilterBank": r"filter_bank|FilterBank",
    "MLPEncoder": r"mlp|MLPEncoder|MLP",
    "export": r"use:export|export",
}
# Places that name a stand-in for other reasons: numbers of the paper, networks of the estimators,
# the function that writes what a mode asks for.
ASIDE = {"evaluation/reports/report.py", "training/export.py"}


def rows():
    for line in TABLE.splitlines():
        if line.startswith("| a"):
            _, stand_in, files = line.strip("| ").split(" | ")
            yield stand_in, files


def named_in_code(path, spelling):
    """Returns whether the code of a file, docstrings aside, has a name or a text of a spelling."""
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
    return any(re.fullmatch(spelling, word.rpartition(".")[2]) for word in words)


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
        if named_in_code(path, spelling)
    }
    estimators = {name for name in found if name.startswith("estimators/")}
    assert found - estimators - ASIDE == listed
