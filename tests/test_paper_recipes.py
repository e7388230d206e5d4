"""The recipes of the paper's data sets, shrunk: prepared from tiny raw folders and trained."""

import json
from pathlib import Path

import jax
import pytest

from tcmax_jax.training import loop
from tcmax_jax.training.config.overrides import load_experiment, override
from tests.data.sources.raw_folders import DATA_SETS

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
SHORT = {
    "training.epochs": 1,
    "training.batch_size": 2,
    "training.eval_batch_size": 2,
    "training.threads": 1,
    "optimizer.schedule": "constant",
    "data.processes": 1,
}
SOUND = {"data.stored.audio.seconds": 0.5, "modalities.audio.input.steps": 64}
PICTURES = {"data.stored.visual.short_side": 32, "modalities.visual.input.size": 32}
SMALL = {
    "crema_d": SOUND | PICTURES,
    "kinetics_sounds": PICTURES
    | {"data.stored.audio.steps": 64, "data.classes": '["playing organ", "tap dancing"]'},
    "ave": SOUND | PICTURES,
    "vggsound": SOUND | PICTURES,
    "ucf101": PICTURES
    | {"data.stored.flow.short_side": 32, "modalities.flow.input.size": 32},
    "mvsa": {
        "data.stored.image.size": 4, "modalities.image.encoder.size": 4,
        "data.stored.text.size": 4, "modalities.text.encoder.size": 4,
    },
}  # fmt: skip


MLA = {"method.kind": "mla", "model.fusion": "share_head"}
PROBED = "crema_d"
# What is done with the features of all recipes alike, and compiled for each of their shapes.
PLAIN = {"training.probe": "false", "training.noise": "[]"}


@pytest.mark.parametrize("name,method", [*((name, {}) for name in sorted(SMALL)), ("mvsa", MLA)])
def test_recipe_trains_on_a_tiny_raw_folder(name, method, tmp_path):
    config = load_experiment(str(EXPERIMENTS / f"{name}.py"))
    write = DATA_SETS[config.data.kind][0]
    raw = tmp_path / "raw"
    raw.mkdir()
    write(raw)
    # An MLP in place of ResNet-18 where compiling would take most of the time: the
    # recipe itself is built, with its own encoders, in test_experiments.
    encoders = {
        f"modalities.{m}.encoder": '{"kind": "mlp", "sizes": [4]}'
        for m, modality in config.modalities.items()
        if modality.encoder.kind == "resnet18"
    }
    changes = SHORT | SMALL[name] | encoders | method | {"data.raw_dir": raw}
    changes |= PLAIN if name != PROBED else {}
    config = override(config, {path: str(value) for path, value in changes.items()})
    results = loop.train(
        config, tmp_path / "run", str(tmp_path / "data"), devices=jax.devices()[:1]
    )
    assert set(results["splits"]) == {"validation", "test"}
    written = json.loads((tmp_path / "run" / "results.json").read_text())
    assert all(own["used"] == own["listed"] > 0 for own in written["data"].values())
    probed = f"probe/{next(iter(config.modalities))}" in results["splits"]["test"]
    assert probed == (name == PROBED)
