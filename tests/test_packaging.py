"""What is built of a checkout: the wheel has the recipes, the sdist all that its tests need."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import tcmax_jax
from tcmax_jax.packages import install_line, versions
from tcmax_jax.training.config.overrides import load_experiment, recipes

ROOT = Path(__file__).parents[1]
# What neither runs nor tests need.
LEFT_OUT = {".gitignore"}


def files_of_the_checkout():
    """Returns the files of the project, without what was built or run in it."""
    top = [p for p in ROOT.iterdir() if not p.name.startswith(".") and not p.name.endswith("-info")]
    top = [p for p in top if p.name not in ("runs", "build", "dist", "prepared", "report")]
    top += [ROOT / name for name in (".ci", ".github", ".pre-commit-config.yaml")]
    found = {f for p in top for f in ([p] if p.is_file() else p.rglob("*")) if f.is_file()}
    return {str(f.relative_to(ROOT)) for f in found if "__pycache__" not in f.parts}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Returns the sdist and the wheel, built from a copy of the checkout."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    for name in files_of_the_checkout():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    code = "from setuptools import build_meta as b; b.build_sdist({0!r}); b.build_wheel({0!r})"
    subprocess.run(
        [sys.executable, "-c", code.format(str(out))], cwd=copy, check=True, capture_output=True
    )
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def test_the_sdist_has_every_file_of_the_checkout(built):
    with tarfile.open(built[0]) as file:
        names = {m.name.partition("/")[2] for m in file.getmembers() if m.isfile()}
    assert files_of_the_checkout() - names <= LEFT_OUT


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Returns a function that runs a command with what the wheel brings alone, in a folder."""
    site = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(built[1]).extractall(site)
    code = (
        "import sys, tcmax_jax; from tcmax_jax.launch import run; print(tcmax_jax.__file__); run()"
    )

    def run_in(folder, *arguments):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=folder, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        where, *lines = done.stdout.splitlines()
        assert where == str(site / "tcmax_jax" / "__init__.py")
        return lines

    return run_in


def test_the_installed_wheel_finds_its_recipes(installed, tmp_path):
    listed = installed(tmp_path, "--mode=config", "--experiment=own_clips")
    assert '  name = "own_clips"' in listed or '* name = "own_clips"' in listed


def test_the_installed_wheel_trains(installed, tmp_path):
    small = {
        "data.train_examples": 64,
        "data.validation_examples": 32,
        "data.test_examples": 32,
        "training.epochs": 1,
        "training.batch_size": 32,
        "training.eval_batch_size": 32,
    }
    fields = (f"--config.{name}={value}" for name, value in small.items())
    printed = installed(tmp_path, "--data_dir=data", "--workdir=run", *fields)
    assert any(line.startswith("fused accuracy") for line in printed)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["splits"]["test"].keys() > {"accuracy", "marginal/accuracy/audio"}


def test_the_wheel_has_the_package_and_its_recipes(built):
    wheel = set(zipfile.ZipFile(built[1]).namelist())
    package = {name for name in files_of_the_checkout() if name.startswith("tcmax_jax/")}
    assert package <= wheel
    assert {f"tcmax_jax/experiments/{name}.py" for name in recipes()} <= wheel
    assert not [
        n for n in wheel if n.startswith(("tests", "docs", "tcmax_jax/experiments/results"))
    ]


def test_recipes_have_names():
    paper = {"crema_d", "kinetics_sounds", "ave", "vggsound", "ucf101", "mvsa"}
    others = {
        "synthetic",
        "grid",
        "own_clips",
        "own_parts",
        "grid_arrays",
        "mvsa_clip",
        "ave_transformers",
    }
    assert set(recipes()) == paper | others
    assert load_experiment("crema_d") == load_experiment(str(ROOT / "experiments" / "crema_d.py"))


def test_the_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {tcmax_jax.__version__}\n" in citation
    newest = re.search(r"^## ([\d.]+) \(([\d-]+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest[1] == tcmax_jax.__version__
    assert f"date-released: {newest[2]}\n" in citation
    assert versions()["tcmax_jax"] == tcmax_jax.__version__


def test_versions_of_the_decoders_are_known():
    import av
    import cv2

    found = versions()
    assert found["av"] == av.__version__
    assert found["FFmpeg"] == av.ffmpeg_version_info
    assert found["opencv-python-headless"].startswith(cv2.__version__)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("cv2", "pip install 'tcmax_jax[train]'"),
        ("tensorflow_datasets", "pip install 'tcmax_jax[train]'"),
        ("av", "pip install 'tcmax_jax[media]'"),
        ("matplotlib.figure", "pip install 'tcmax_jax[report]'"),
        ("apache_beam", "pip install 'tcmax_jax[beam]'"),
        ("safetensors", "pip install 'tcmax_jax[pretrained]'"),
        ("torch", "pip install torch"),
    ],
)
def test_the_line_that_installs_a_module(module, line):
    assert install_line(module) == line
