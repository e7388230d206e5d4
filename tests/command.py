"""The command line, in a process of its own as a user runs it, or within that of the tests."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import grain  # noqa: F401 defines flags of its own, which are lost if it does within flagsaver
from absl import flags
from absl.testing import flagsaver

from tcmax_jax.launch import main, split_overrides

ROOT = Path(__file__).parents[1]


class Result(NamedTuple):
    """What a command came to, as `subprocess.run` tells it."""

    returncode: int
    stdout: str
    stderr: str


def launch(*arguments, cwd):
    """Runs launch.py from another folder, as a user may."""
    command = [sys.executable, str(ROOT / "launch.py"), *map(str, arguments)]
    environ = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environ, check=False
    )


def launch_here(*arguments, cwd):
    """Runs the same within this process."""
    out, err = io.StringIO(), io.StringIO()
    before = Path.cwd()
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = _exit_code(arguments, err)
    finally:
        os.chdir(before)
    return Result(code, out.getvalue(), err.getvalue())


def _exit_code(arguments, err):
    with flagsaver.flagsaver():
        try:
            overrides, rest = split_overrides(["launch.py", *map(str, arguments)])
            main(flags.FLAGS(rest), overrides)
        except SystemExit as stop:
            if isinstance(stop.code, str):
                print(stop.code, file=err)
                return 1
            return stop.code or 0
