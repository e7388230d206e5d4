"""A recipe defines members of families, and nothing in the package has to change for it."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tcmax_jax.section import forget
from tests.command import launch_here

RECIPE = Path(__file__).parents[1] / "experiments" / "own_parts.py"
KINDS = {"text_column", "window", "Recurrent", "tempered", "smoothed"}


def write_ripples(folder, number=48):
    """Writes text files whose number of crests is the class, in two views, and their list."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(number):
        crests = 1 + 2 * (i % 2)
        time = np.arange(16)[:, None]
        views = np.sin(time * crests * [0.4, 0.3]) + 0.1 * rng.normal(size=(16, 2))
        np.savetxt(folder / f"{i}.txt", views)
        split = ("train", "train", "validation", "test")[i // 2 % 4]
        rows.append((i, split, "ab"[i % 2], f"{i}.txt"))
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "split", "label", "path"), *rows])


@pytest.fixture
def folder(tmp_path):
    """Returns a folder with the recipe and its data."""
    shutil.copy(RECIPE, tmp_path / "recipe.py")
    write_ripples(tmp_path)
    return tmp_path


def run(*arguments, cwd):
    result = launch_here("--experiment=recipe.py", *arguments, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_recipe_brings_a_member_of_every_family(folder):
    fast = (
        "--config.data.processes=1",
        "--config.training.probe=false",
        "--config.training.noise=[]",
    )
    trained = run("--data_dir=data", "--workdir=run", *fast, cwd=folder)
    results = json.loads((folder / "run" / "results.json").read_text())
    assert results["method"] == "smoothed"
    assert results["splits"]["test"]["accuracy"] > 0.8
    log = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    assert any("evenness" in json.loads(line) for line in log)
    assert "fused accuracy" in trained
    # The run says where its sections come from; nothing on disk is imported by itself.
    stored = json.loads((folder / "run" / "config.json").read_text())
    digest = hashlib.sha256((folder / "recipe.py").read_bytes()).hexdigest()
    where = {"file": str(folder / "recipe.py"), "sha256": digest}
    assert stored["definitions"] == dict.fromkeys(KINDS, where)
    fields = ("--config.method.smoothing=0.3", "--config.modalities.left.encoder.size=4")
    listed = run("--mode=config", *fields, cwd=folder)
    assert "* method.smoothing = 0.3\n      number >= 0 and <= 1; default 0.1" in listed
    assert "* modalities.left.encoder.size = 4\n      integer; default 8" in listed

    # Each command that takes a run.
    run("--mode=evaluate", "--data_dir=data", "--workdir=run", cwd=folder)
    assert json.loads((folder / "run" / "results.json").read_text()) == results
    new = ("--clips=list.csv", "--predictions=predictions.csv")
    run("--mode=predict", "--workdir=run", *new, cwd=folder)
    predicted = (folder / "predictions.csv").read_text().splitlines()
    assert predicted[0].startswith("id,prediction,probability,a,b,left:a") and len(predicted) == 49
    several = ("--config.comparison.seeds=[0]", '--config.comparison.methods=["smoothed"]')
    short = (*fast, "--config.training.epochs=1")
    run("--mode=compare", "--data_dir=data", "--workdir=all", *several, *short, cwd=folder)
    reported = launch_here("--mode=report", "--workdir=report", "--runs=all", cwd=folder)
    assert reported.returncode == 0, reported.stderr
    assert "smoothed" in (folder / "report" / "report.md").read_text()
    run("--mode=export", "--workdir=run", "--export=out", cwd=folder)
    about = json.loads((folder / "out" / "model.json").read_text())
    assert about["inputs"]["left"] == {"shape": ["rows", 12, 1], "dtype": "float32"}

    with (folder / "recipe.py").open("a") as file:
        file.write("# another line\n")
    again = ("--experiment=recipe.py", "--mode=export", "--workdir=run", "--export=again")
    said = " ".join(launch_here(*again, cwd=folder).stderr.split())
    assert f"note: {folder / 'recipe.py'} has changed since the run in run was trained" in said

    forget("tcmax_jax.loaded_recipe")  # as in another process
    unknown = launch_here("--mode=export", "--workdir=run", "--export=more", cwd=folder)
    assert unknown.returncode == 1
    for text in (f"smoothed in {folder / 'recipe.py'}", "Pass --experiment=FILE"):
        assert text in " ".join(unknown.stderr.split())


def test_a_kind_that_is_taken_is_refused(folder):
    text = (folder / "recipe.py").read_text().replace('"smoothed"', '"joint"')
    Path(folder / "recipe.py").write_text(text)
    refused = launch_here("--experiment=recipe.py", "--data_dir=data", cwd=folder)
    assert refused.returncode == 1
    assert "Expected one MethodOptions of the kind joint, got" in refused.stderr


def test_it_takes_few_lines():
    assert sum(bool(line.strip()) for line in RECIPE.read_text().splitlines()) < 120
