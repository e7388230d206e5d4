"""README and docs hold: their Python blocks run, folders exist, commands parse, links lead."""

import re
import shlex
from pathlib import Path

import pytest

from tcmax_jax.commands.estimate import Estimation
from tcmax_jax.launch import split_overrides
from tcmax_jax.section import forget
from tcmax_jax.training.config.overrides import load_experiment, override

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


# The tutorial is typed as a whole, in test_tutorial.py.
@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.stem != "tutorial"], ids=lambda page: page.name
)
def test_python_blocks_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    try:
        exec(compile(code, page.name, "exec"), {"__name__": page.stem})
    finally:
        forget(page.stem)  # what a page defines, as another process would


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_launch_commands_name_real_recipes_and_fields(page):
    text = page.read_text().replace("\\\n", "")
    for command in re.findall(r"python launch.py ?([^`\n]*)", text):
        arguments = shlex.split(command, comments=True)
        overrides, flags = split_overrides(arguments)
        if "--mode=estimate" in flags:
            override(Estimation(), overrides)
            continue
        experiment = [f.split("=")[1] for f in flags if f.startswith("--experiment=")] or [None]
        override(load_experiment(experiment[0]), overrides)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", prose):
        path, _, anchor = target.partition("#")
        if not path.startswith("https://"):
            linked = page.parent / path if path else page
            assert linked.exists(), target
            headings = re.findall(r"^#+ (.*)", linked.read_text(), re.M) if anchor else []
            slugs = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
            assert not anchor or anchor in slugs, target
