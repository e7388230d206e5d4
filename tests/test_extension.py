"""A recipe defines a member of every family, and nothing in the package has to change for it."""

import json
from pathlib import Path

import pytest

from tcmax_jax.section import _DEFINED
from tests.command import launch_here

# Ripples whose number of crests is the class, read of files, in two views of one series.
RECIPE = '''
import dataclasses
from typing import Annotated, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from tcmax_jax.data.clips import Clip, Listing
from tcmax_jax.data.forms import Content, Form
from tcmax_jax.data.inputs import Input
from tcmax_jax.data.sources import ClipsSource
from tcmax_jax.methods.base import Loss, MethodOptions, cross_entropy, follow, joint_logits
from tcmax_jax.models import EncoderOptions, HeadOptions
from tcmax_jax.models.fusion import AdditiveFusion
from tcmax_jax.section import Count, Limits, Positive, section
from tcmax_jax.training.config import Config, Modality, Model, Training
from tcmax_jax.training.optimizer import SGD, Schedule


@section
class Series(Form):
    """A series of numbers, from one column of a text file."""

    kind: Literal["series"] = "series"
    column: Annotated[int, Limits(ge=0)] = 0
    length: Count = 16

    dtype: ClassVar = np.float32
    input_kind: ClassVar = "window"

    @property
    def shape(self):
        return (self.length,)

    def file(self, clip):
        return clip.video

    def read(self, clip):
        return Content(np.loadtxt(clip.video)[:, self.column].astype(np.float32))


@section
class Window(Input):
    kind: Literal["window"] = "window"
    steps: Count = 8

    def __call__(self, stored, seed):
        return stored[: self.steps, None]

    def shape(self, form):
        return self.steps, 1


@section
class Ripples(ClipsSource):
    """Ripples in a folder, a file each."""

    kind: Literal["ripples"] = "ripples"
    folder: str

    def list_clips(self):
        from pathlib import Path

        files = sorted(Path(self.folder).glob("*.txt"))
        splits = ("train", "train", "validation", "test")
        clips = [
            Clip(f.stem, splits[i // 2 % 4], f.stem[0], f, place=str(f))
            for i, f in enumerate(files)
        ]
        return Listing(clips, ["a", "b"])


class Mean(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(4)(x.reshape(x.shape[0], -1))


@section
class MeanEncoder(EncoderOptions):
    kind: Literal["mean"] = "mean"
    feature_size: ClassVar = 4

    def make(self, dtype=jnp.float32, axis_name=None):
        return Mean()


class HalfHead(AdditiveFusion):
    @nn.compact
    def modality_logits(self, features):
        return {m: nn.Dense(self.num_classes, name=m)(features[m]) / 2 for m in self.modalities}


@section
class Half(HeadOptions):
    kind: Literal["half"] = "half"
    module: ClassVar = HalfHead


@section
class Smoothed(MethodOptions):
    """Joint training on smoothed labels."""

    kind: Literal["smoothed"] = "smoothed"
    smoothing: Positive = 0.1

    def make(self, modalities=(), label_prior=None):
        def loss(forward, state):
            logits = forward.head(forward.features)
            right = cross_entropy(logits, forward.labels)
            even = -jnp.mean(nn.log_softmax(logits), axis=-1)
            mixed = (1 - self.smoothing) * right + self.smoothing * even
            return Loss(mixed, {"evenness": forward.mean(even)}, state)

        return follow(loss, joint_logits)


@section
class Halving(Schedule):
    kind: Literal["halving"] = "halving"

    def after_warmup(self, peak, warmup, epochs, steps_per_epoch):
        return optax.exponential_decay(peak, steps_per_epoch, 0.5)


def config():
    views = {name: Modality(input="window", encoder="mean") for name in ("left", "right")}
    return Config(
        name="ripples",
        data=Ripples(
            folder="ripples", processes=2, stored={"left": Series(), "right": Series(column=1)}
        ),
        modalities=views,
        model=Model(fusion="half"),
        method=Smoothed(smoothing=0.2),
        optimizer=SGD(schedule="halving", learning_rate=0.5),
        training=Training(epochs=2, batch_size=4, eval_batch_size=4, threads=1, noise=()),
    )
'''


@pytest.fixture
def folder(tmp_path):
    """Returns a folder with the recipe and its data, and forgets afterwards what it defines."""
    (tmp_path / "recipe.py").write_text(RECIPE)
    (tmp_path / "ripples").mkdir()
    for number in range(16):
        crests = 1 + number % 2
        rows = "\n".join(
            f"{(i * crests + number) % 16 / 16} {(i * crests) % 5 / 5}" for i in range(16)
        )
        (tmp_path / "ripples" / f"{'ab'[number % 2]}{number:02d}.txt").write_text(rows)
    yield tmp_path
    forget()


def forget():
    """Forgets what a recipe has defined, as another process would."""
    _DEFINED[:] = [each for each in _DEFINED if each.__module__ != "tcmax_jax.loaded_recipe"]


def test_a_recipe_brings_a_member_of_every_family(folder):
    arguments = ("--experiment=recipe.py", "--data_dir=data", "--workdir=run")
    trained = launch_here(*arguments, cwd=folder)
    assert trained.returncode == 0, trained.stderr
    results = json.loads((folder / "run" / "results.json").read_text())
    assert results["method"] == "smoothed"
    assert set(results["splits"]) == {"validation", "test"}
    log = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    assert any("evenness" in json.loads(line) for line in log)
    assert "fused accuracy" in trained.stdout
    # The run says where its sections come from; nothing on disk is imported by itself.
    stored = json.loads((folder / "run" / "config.json").read_text())
    kinds = {"ripples", "series", "window", "mean", "half", "smoothed", "halving"}
    assert stored["definitions"] == dict.fromkeys(kinds, str(folder / "recipe.py"))
    listed = launch_here(
        "--mode=config", *arguments[:1], "--config.method.smoothing=0.3", cwd=folder
    )
    assert "* method.smoothing = 0.3\n      number > 0; default 0.1" in listed.stdout

    exported = launch_here(
        "--mode=export", arguments[0], "--workdir=run", "--export=out", cwd=folder
    )
    assert exported.returncode == 0, exported.stderr
    about = json.loads((folder / "out" / "model.json").read_text())
    assert about["inputs"]["left"] == {"shape": ["rows", 8, 1], "dtype": "float32"}

    forget()
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
