"""The recipes with published transformers, shrunk: from raw folders and weights to predictions."""

import csv
import json
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.special import softmax

from tcmax_jax.commands.export import write_export
from tcmax_jax.commands.predict import predict_file
from tcmax_jax.data.array_files import write_arrays
from tcmax_jax.data.pictures import encode_image
from tcmax_jax.data.sources.mvsa import MvsaData
from tcmax_jax.evaluation.outputs import read_outputs
from tcmax_jax.methods.base import encoder_group
from tcmax_jax.run_folder import RunFolder
from tcmax_jax.series import Series
from tcmax_jax.training import build, loop
from tcmax_jax.training.checkpoint import Checkpoints
from tcmax_jax.training.config import Model
from tcmax_jax.training.config.overrides import load_experiment, override
from tests.data.media_files import flat_frames
from tests.data.sources import raw_folders
from tests.models import transformer_reference as reference
from tests.test_tokens import TWEETS, load_script, write_tokenizer

BLOCKS = {
    "width": reference.WIDTH,
    "depth": 1,
    "heads": reference.HEADS,
    "mlp_size": reference.HIDDEN,
}
PATCHES = BLOCKS | {"patch": reference.PATCH}
SHORT = {
    "training.epochs": 4,
    "training.eval_every": 4,
    "training.batch_size": 2,
    "training.accumulate": 2,
    "training.eval_batch_size": 2,
    "training.threads": 1,
    "training.noise": "[1.0]",
    "training.probe": "false",
    "data.processes": 1,
}
STRIDE, BANDS, WINDOWS = 3, 10, 16  # of the tiny AST: 3 x 5 patches
SIZE = 8  # of pictures: 2 x 2 patches


def encoder(modality, fields):
    return {f"modalities.{modality}.encoder.{name}": value for name, value in fields.items()}


MVSA = {
    "data.stored.image.short_side": 16,
    "data.stored.text.shape": f"[{reference.POSITIONS}]",
    "modalities.image.input.size": SIZE,
    **encoder("image", PATCHES),
    **encoder("text", BLOCKS),
    "modalities.text.encoder.vocabulary_size": reference.VOCABULARY,
    "modalities.text.encoder.max_length": reference.POSITIONS,
}
AVE = {
    "data.stored.audio.bins": BANDS,
    "data.stored.audio.steps": WINDOWS,
    "data.stored.visual.short_side": 16,
    "modalities.visual.input.size": SIZE,
    **encoder("audio", PATCHES | {"stride": STRIDE, "weights_grid": "[3, 5]"}),
    **encoder("visual", PATCHES),
}
CLIP_MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
CLIP_STD = np.array([0.26862954, 0.26130258, 0.27577711])


class Run(NamedTuple):
    """A run of a recipe, and what it began with."""

    folder: Path
    setup: build.Setup
    start: dict
    end: dict
    results: dict


def train(recipe, folder, changes):
    """Trains a recipe on its raw folder; returns the run."""
    config = load_experiment(recipe)
    changes = SHORT | changes | {"data.raw_dir": folder / "raw"}
    config = override(config, {path: str(value) for path, value in changes.items()})
    begun = {}
    real_fit = loop.fit

    def fit(setup, state, *rest):
        begun.update(setup=setup, params=jax.device_get(state.params))
        return real_fit(setup, state, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "fit", fit)
        results = loop.train(
            config, folder / "run", str(folder / "data"), devices=jax.devices()[:1]
        )
    with Checkpoints(RunFolder(folder / "run").checkpoints) as checkpoints:
        end = checkpoints.restore_variables(checkpoints.latest)["params"]
    return Run(folder, begun["setup"], begun["params"], end, results)


def write_mvsa(folder):
    """Six tweets with pictures and ids of tokens, as the script makes them."""
    raw_folders.mvsa(folder)
    for name in ("train", "dev", "test"):
        path = folder / f"{name}.jsonl"
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [json.dumps(entry | {"text": TWEETS[entry["id"]]}) for entry in entries]
        path.write_text("\n".join(lines))
    (folder / "data").mkdir()
    for number in range(1, 7):
        picture = encode_image(flat_frames([30 * number])[0])
        (folder / "data" / f"{number}.jpg").write_bytes(picture)
    script = load_script()
    tokenizer = script.load_tokenizer(
        write_tokenizer(folder / "tokenizer.json"), reference.POSITIONS
    )
    write_arrays(folder / "tokens.npz", script.tokenize(script.mvsa_texts(folder), tokenizer))


@pytest.fixture(scope="module", autouse=True)
def one_block():
    """Compiling is most of the time; the order of blocks is tested with the encoders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "DEPTH", 1)
        yield


@pytest.fixture(scope="module")
def mvsa(tmp_path_factory):
    """A run of mvsa_clip, from one file of weights with both towers, and these by tower."""
    folder = tmp_path_factory.mktemp("mvsa")
    (folder / "raw").mkdir()
    write_mvsa(folder / "raw")
    towers = {
        "image": reference.weights("clip", (SIZE // reference.PATCH) ** 2),
        "text": reference.weights("clip_text", seed=1),
    }
    named = [reference.published(towers["image"], "clip")]
    named += [{f"text_model.{name}": array for name, array in towers["text"].items()}]
    save_file(named[0] | named[1], folder / "model.safetensors")
    file = {"weights": folder / "model.safetensors"}
    return train("mvsa_clip", folder, MVSA | encoder("image", file) | encoder("text", file)), towers


@pytest.fixture(scope="module")
def ave(tmp_path_factory):
    """A run of ave_transformers, and its weights by modality."""
    folder = tmp_path_factory.mktemp("ave")
    raw_folders.ave(folder / "raw")
    weights = {
        "audio": reference.weights("ast", 15, channels=1),
        "visual": reference.weights("vit", (SIZE // reference.PATCH) ** 2, seed=1),
    }
    changes = AVE
    for modality, style in (("audio", "ast"), ("visual", "vit")):
        file = folder / f"{style}.safetensors"
        save_file(reference.published(weights[modality], style), file)
        changes = changes | encoder(modality, {"weights": file})
    return train("ave_transformers", folder, changes), weights


def first_features(run):
    """Returns the inputs and the features {modality: [D]} of an example before the first step."""
    setup = run.setup
    record = setup.dataset.sources["train"][0]
    inputs = {m: setup.inputs[m](record[m], None) for m in setup.inputs}
    batch = jax.tree.map(lambda x: x[None], inputs)
    config = setup.config
    model = build.make_model(override(config, {"model.dtype": "float32"}), num_classes=3)
    variables = {"params": run.start, "batch_stats": {}}
    encode = jax.jit(lambda variables, batch: model.apply(variables, batch, False, method="encode"))
    return inputs, {m: x[0] for m, x in encode(variables, batch).items()}


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5)


def test_clip_starts_at_both_towers_of_one_file(mvsa):
    run, towers = mvsa
    inputs, features = first_features(run)
    picture = (inputs["image"][0] / 255 - CLIP_MEAN) / CLIP_STD
    close(features["image"], reference.clip_vision(towers["image"], picture.transpose(2, 0, 1)))
    ids = inputs["text"].values[inputs["text"].mask]
    assert ids.tolist() == [0, 3, 4, 1]
    close(features["text"], reference.clip_text(towers["text"], ids)[-1])


def test_ast_and_vit_start_at_their_files(ave):
    run, weights = ave
    inputs, features = first_features(run)
    sound = (inputs["audio"].astype(np.float64) + 4.2677393) / (2 * 4.5689974)
    close(features["audio"], reference.vit(weights["audio"], sound.transpose(2, 0, 1), STRIDE))
    frames = (inputs["visual"] / 255 - 0.5) / 0.5
    assert frames.shape == (3, SIZE, SIZE, 3)
    expected = [reference.vit(weights["visual"], frame.transpose(2, 0, 1)) for frame in frames]
    close(features["visual"], np.mean(expected, axis=0))


@pytest.mark.parametrize("recipe", ["mvsa", "ave"])
def test_training_moves_encoders_slowly_and_the_head_at_its_full_rate(recipe, request):
    run, weights = request.getfixturevalue(recipe)
    config = run.setup.config
    assert (config.model.dtype, config.training.accumulate) == ("bfloat16", 2)
    rate, factors = config.optimizer.learning_rate, config.optimizer.factors
    moved = {}
    for keys, before in jax.tree.leaves_with_path(run.start):
        after = run.end
        for key in keys:
            after = after[key.key]
        group = keys[0].key
        moved.setdefault(group, []).append((jax.tree_util.keystr(keys), np.abs(after - before)))
    assert set(moved) == {"head", *map(encoder_group, weights)}
    for group, changes in moved.items():
        factor = factors.get(f"{group}/*", 1.0)
        assert not [name for name, change in changes if not change.any()]
        largest = max(change.max() for _, change in changes)
        # Adam moves a parameter by about the rate in each of the three steps after the first.
        assert 0.5 * factor * rate < largest < 4 * factor * rate, group


@pytest.mark.parametrize("recipe", ["mvsa", "ave"])
def test_evaluation_of_all_splits(recipe, request):
    run, weights = request.getfixturevalue(recipe)
    assert set(run.results["splits"]) == {"validation", "test"}
    for metrics in run.results["splits"].values():
        assert {f"accuracy/{modality}" for modality in weights} < set(metrics)
        assert all(np.isfinite(value) for value in metrics.values())
    again = loop.evaluate(run.folder / "run", str(run.folder / "data"), jax.devices()[:1])
    assert again == run.results
    log = (run.folder / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [entry for entry in map(json.loads, log) if entry["split"] == "train"]
    for modality in weights:
        # The head starts at zero, and hands nothing on in the first steps.
        assert steps[-1][f"grad_norm/{modality}"] > 0


@pytest.mark.parametrize("recipe", ["mvsa", "ave"])
def test_export_for_any_number_of_examples(recipe, request, tmp_path):
    run, _ = request.getfixturevalue(recipe)
    write_export(run.folder / "run", tmp_path / "model")
    function = jax.export.deserialize((tmp_path / "model" / "classifier.jax_export").read_bytes())
    split, setup = "test", run.setup
    records = list(setup.dataset.sources[split])
    examples = [{m: setup.inputs[m](r[m], None) for m in setup.inputs} for r in records]
    batch = jax.tree.map(lambda *x: np.stack(x), *examples)
    batch = {m: x._asdict() if isinstance(x, Series) else x for m, x in batch.items()}
    outputs = read_outputs(run.folder / "run" / f"outputs-{split}.npz")
    said = function.call(batch)["fused"]
    np.testing.assert_allclose(said, softmax(outputs.scores["fused"], axis=-1), atol=1e-2)


@pytest.mark.parametrize("names", [["x", "y"], ["x"]], ids=["two", "one"])
def test_new_tweets_are_predicted(mvsa, tmp_path, names):
    run, _ = mvsa
    script = load_script()
    tokenizer = script.load_tokenizer(run.folder / "raw" / "tokenizer.json", reference.POSITIONS)
    texts = [script.Text(name, f"{TWEETS['2']} bad", name) for name in names]
    write_arrays(tmp_path / "tokens.npz", script.tokenize(texts, tokenizer))
    (tmp_path / "new.png").write_bytes(encode_image(flat_frames([99])[0], lossless=True))
    (tmp_path / "new.csv").write_text("id,path\n" + "".join(f"{n},new.png\n" for n in names))
    predict_file(run.folder / "run", tmp_path / "new.csv", tmp_path / "predicted.csv")
    with (tmp_path / "predicted.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == names
    assert len({row["positive"] for row in rows}) == 1


def test_the_recipes_as_they_are():
    mvsa, ave = load_experiment("mvsa_clip"), load_experiment("ave_transformers")
    for config in (mvsa, ave):
        assert all(modality.encoder.weights is None for modality in config.modalities.values())
        assert isinstance(config.model, Model) and config.model.dtype == "bfloat16"
        assert config.training.accumulate > 1
    sizes = {m: modality.encoder.feature_size for m, modality in mvsa.modalities.items()}
    assert sizes == {"image": 768, "text": 512}
    assert mvsa.data.prepared_folder("").parts[0] == MvsaData.kind
    assert mvsa.data.content_name() != MvsaData().content_name()
