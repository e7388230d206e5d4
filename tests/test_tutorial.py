"""The tutorial is typed, block by block, in an empty folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import launch_here

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
# Comments before a block, its language, its text.
BLOCKS = re.findall(r"((?:<!--[^>]*-->\n)?)```(sh|python)\n(.*?)```", PAGE.read_text(), re.DOTALL)


def type_block(text, folder):
    """Runs lines of a shell; returns what they print.

    The training with TCMax runs as typed, on one device as at home. All other commands of the
    package run within this process, which has imported what they need.
    """
    printed = ""
    for line in text.replace("\\\n", " ").splitlines():
        name, *arguments = shlex.split(line)
        if name != "tcmax_jax" or "--workdir=runs/tcmax" in arguments[-1:]:
            printed += type_shell(line, folder)
            continue
        result = launch_here(*arguments, cwd=folder)
        # The doctor says in step 3 that the data is not prepared, which is no error.
        assert result.returncode == 0, line + result.stdout + result.stderr
        printed += result.stdout + result.stderr
    return printed


def type_shell(text, folder):
    """Runs lines of a shell with the commands of this environment; returns what they print."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    flags = re.sub(r"device_count=\d+", "device_count=1", os.environ["XLA_FLAGS"])
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder, env=os.environ | {"PATH": path, "XLA_FLAGS": flags},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, text + result.stdout + result.stderr
    return result.stdout + result.stderr


def test_the_tutorial_as_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace, printed = {}, ""
    for comment, language, text in BLOCKS:
        saved = re.match(r"# (\w+\.py)\n", text)
        if comment:
            continue
        if saved:
            (tmp_path / saved[1]).write_text(text)
        elif language == "python":
            exec(compile(text, PAGE.name, "exec"), namespace)
        else:
            printed += type_block(text, tmp_path)
    assert re.search(r"^30/30 +180 +-", printed, re.M)
    assert "The data is not prepared. Training does so first" in printed
    assert "predicted 1 of 1 clips" in printed
    assert "written to report/report.html" in printed


def test_one_block_alone_is_not_typed():
    assert [bool(comment) for comment, _, _ in BLOCKS].count(True) == 1


@pytest.mark.parametrize("name", ["make_clips.py", "pets.py"])
def test_files_of_the_tutorial_are_named(name):
    assert f"Save this as `{name}`" in PAGE.read_text()
