"""Every recipe builds: its configuration, and its model and the state of a run, abstractly."""

import dataclasses
import functools
import runpy
import wave
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax import methods
from tcmax_jax.commands.compare import plan
from tcmax_jax.commands.export import input_shapes
from tcmax_jax.data.media import read_audio
from tcmax_jax.data.sources.manifest import read_manifest
from tcmax_jax.methods import Unimodal
from tcmax_jax.series import Series
from tcmax_jax.training import build
from tcmax_jax.training.config import Comparison, Config
from tcmax_jax.training.config.comparison import all_methods
from tcmax_jax.training.config.overrides import load_experiment
from tcmax_jax.training.parallel import AXIS_NAME
from tcmax_jax.training.state import init_state
from tcmax_jax.training.step import train_step, training_key

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
RECIPES = sorted(p for p in EXPERIMENTS.glob("*.py") if "\ndef config()" in p.read_text())


def with_known_shapes(path) -> Config:
    """Returns a recipe whose arrays have some shape, where files would say it."""
    config = load_experiment(str(path))
    some = {"shape": (30, 8), "dtype": "float32", "varying": True}
    unknown = [m for m, form in config.data.forms.items() if form.shape is None]
    return build.with_forms(config, dict.fromkeys(unknown, some))


def abstract_inputs(config: Config, rows):
    """Returns the shapes that the pipeline would deliver."""
    shapes = jax.tree.map(lambda x: x.update(shape=(rows, *x.shape)), input_shapes(config))
    return {m: Series(**x) if isinstance(x, dict) else x for m, x in shapes.items()}


def abstract_init(config):
    """Returns the model, the optimiser, and what shapes inputs and the state before a step have."""
    model = build.make_model(config, num_classes=51)
    optimizer = config.optimizer.make(config.optimizer.rate(epochs=2, steps_per_epoch=3))
    init = functools.partial(init_state, model, optimizer, methods.Joint().make(), 8)
    inputs = abstract_inputs(config, config.training.batch_size)
    return model, optimizer, inputs, jax.eval_shape(init, inputs, jax.random.key(0))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_builds(path):
    config = with_known_shapes(path)
    *_, state = abstract_init(config)
    encoders = {f"encoders_{m}" for m in config.modalities}
    assert state.params.keys() - {"head"} <= encoders
    assert jax.tree.leaves(state.params["head"])


# All others take steps, with smaller encoders, where their data is made up.
@pytest.mark.parametrize("name", ["grid", "grid_arrays"])
def test_recipe_takes_a_step(name):
    config = with_known_shapes(EXPERIMENTS / f"{name}.py")
    model, optimizer, inputs, state = abstract_init(config)
    rows = jax.ShapeDtypeStruct((config.training.batch_size,), jnp.int32)
    batch = {"inputs": inputs, "label": rows, "where": rows.update(dtype=jnp.bool_), "index": rows}
    step = functools.partial(
        train_step,
        model=model,
        optimizer=optimizer,
        method=methods.TCMax().make(),
        axis_name=AXIS_NAME,
    )
    add_axis = functools.partial(jax.tree.map, lambda x: x.update(shape=(1, *x.shape)))
    mapped = jax.vmap(step, axis_name=AXIS_NAME, in_axes=(None, 0, None))
    after, metrics = jax.eval_shape(mapped, state, add_axis(batch), training_key(0))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert metrics["loss"].shape == (1,)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_run_of_its_comparison_is_a_valid_configuration(path):
    config = load_experiment(str(path))
    planned = plan(config)
    assert len(planned) == len(config.comparison.methods) * len(config.comparison.seeds)
    assert {"joint", "unimodal", "tcmax"} < {each.method.kind for each in planned}


def test_the_synthetic_recipe_is_the_default_and_compares_every_method():
    recipe = load_experiment(str(EXPERIMENTS / "synthetic.py"))
    assert dataclasses.replace(recipe, comparison=Comparison()) == Config()
    assert set(recipe.comparison.methods) == {
        *all_methods(), Unimodal(modality="audio"), Unimodal(modality="visual")
    }  # fmt: skip
    assert {method.kind for method in all_methods()} == set(methods.MethodOptions.members())


def test_clips_in_noise_are_a_manifest_at_the_level_that_was_asked_for(tmp_path):
    manifest = tmp_path / "manifest.csv"
    rows = ["id,split,label,path,start,end"]
    for name, split in (("a", "train"), ("b", "test")):
        sound = np.random.default_rng(ord(name)).normal(0, 3000, 16_000).astype("<i2")
        (tmp_path / name).mkdir()
        with wave.open(str(tmp_path / name / "clip.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", None))
            file.writeframes(sound.tobytes())
        rows.append(f"{name}_0,{split},yes,{name}/clip.wav,0.25,0.5")
    manifest.write_text("\n".join(rows) + "\n")
    recipe = runpy.run_path(str(EXPERIMENTS / "grid_arrays.py"))

    recipe["make_clips"](manifest, tmp_path / "noisy", -10)

    listing = read_manifest(tmp_path / "noisy/list.csv", outside_paths=True)
    assert [(clip.id, clip.start, clip.end) for clip in listing.clips] == [
        ("a_0", 0.25, 0.5), ("b_0", 0.25, 0.5)
    ]  # fmt: skip
    for clip in listing.clips:
        quiet = read_audio(clip.video, rate=16_000)
        noise = read_audio(clip.audio, rate=16_000) - quiet
        level = 10 * np.log10(np.mean(quiet**2) / np.mean(noise**2))
        assert level == pytest.approx(-10, abs=1e-3)
        assert np.abs(noise).max() > 1  # not cut off at full scale
