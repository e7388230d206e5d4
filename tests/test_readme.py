"""The README holds: its Python blocks run, its folders exist, its commands parse."""

import re
from pathlib import Path

import pytest

from tcmax_jax.launch import split_overrides
from tcmax_jax.training.overrides import load_experiment, override

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_python_blocks_run(code):
    exec(compile(code, "README.md", "exec"), {})


def test_every_path_of_the_map_exists():
    (tree,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    folder = ROOT
    for line in tree.splitlines():
        depth, name = len(line) - len(line.lstrip()), line.split()[0]
        if depth == 0:
            assert (ROOT / name).exists(), name
            folder = ROOT / name
        else:
            assert (folder / name).exists(), f"{folder.name}/{name}"


def test_launch_commands_name_real_recipes_and_fields():
    commands = re.findall(r"python launch.py ?(.*)", README)
    assert commands
    for command in commands:
        arguments = command.split("#")[0].replace("\\", "").split()
        overrides, flags = split_overrides(arguments)
        experiment = [f.split("=")[1] for f in flags if f.startswith("--experiment=")]
        override(load_experiment(str(ROOT / experiment[0]) if experiment else None), overrides)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
