"""What earlier versions wrote stays readable, and named, and trains to the same numbers.

`golden/` holds files of version 0.2.0, in the form in which it wrote them: configurations of all
recipes, names of folders of prepared data, names and shapes of parameters, a comparison and a study
with their runs, and three steps of each method. They are never written anew.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from tcmax_jax.evaluation.analysis import analyse_splits
from tcmax_jax.evaluation.comparison import comparison_csv
from tcmax_jax.evaluation.outputs import read_outputs
from tcmax_jax.evaluation.quantities import number, read_name
from tcmax_jax.evaluation.reports.report import write_report
from tcmax_jax.evaluation.text import results_table
from tcmax_jax.training import build, passes, run_folders
from tcmax_jax.training.config.overrides import load_experiment, override
from tcmax_jax.training.config.tree import from_dict, to_dict
from tcmax_jax.training.step import training_key
from tcmax_jax.upgrade import of_stored_run
from tests.training.tiny import tiny_config

GOLDEN = Path(__file__).parent / "golden"
CONFIGS = json.loads((GOLDEN / "configs.json").read_text())
FOLDERS = json.loads((GOLDEN / "folders.json").read_text())
TRAINING = json.loads((GOLDEN / "training.json").read_text())
RUNS = sorted(path.parent for path in GOLDEN.rglob("results.json"))


def golden(name):
    return json.loads((GOLDEN / name).read_text())


@pytest.mark.parametrize("recipe", CONFIGS)
def test_a_stored_configuration_is_the_recipe(recipe):
    config = load_experiment(recipe)
    if hasattr(config.data, "manifest"):
        config = override(config, {"data.manifest": "/data/list.csv"})
    stored = from_dict(of_stored_run(CONFIGS[recipe]))
    if recipe == "own_clips":  # It takes the scale of the data now.
        config = dataclasses.replace(config, modalities=stored.modalities)
    assert stored == config
    assert from_dict(to_dict(config)) == config


@pytest.mark.parametrize("case", FOLDERS, ids=lambda case: case["folder"])
def test_prepared_data_is_found_under_its_name(case, tmp_path):
    clips = tmp_path / "my clips"
    clips.mkdir()
    listed = "id,split,label,path\na,train,x,a.mp4\nb,validation,x,b.mp4\n"
    (clips / "list.csv").write_text(listed)
    paths = {path: x.replace("LIST", f"{clips}/list.csv") for path, x in case["overrides"].items()}
    config = override(load_experiment(case["experiment"]), paths)
    assert config.data.prepared_folder(tmp_path) == tmp_path / case["folder"]


@pytest.mark.parametrize(("fusion", "expected"), golden("params.json").items())
def test_parameters_keep_their_names_and_shapes(fusion, expected):
    model = build.make_model(tiny_config(model__fusion=fusion), num_classes=3)
    inputs = {
        "audio": jax.ShapeDtypeStruct((1, 6, 6, 1), jnp.float16),
        "visual": jax.ShapeDtypeStruct((1, 2, 6, 6, 3), jnp.uint8),
    }
    variables = jax.eval_shape(model.init, jax.random.key(0), inputs)
    found = {
        jax.tree_util.keystr(path, simple=True, separator="/"): list(x.shape)
        for path, x in jax.tree.leaves_with_path(variables)
    }
    assert found == expected


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_run_is_read(run):
    config = run_folders.stored_config(run)
    assert config.data.num_classes == len(run_folders.stored_data(run)["class_names"])
    results = json.loads((run / "results.json").read_text())
    table = results_table(results)
    for metrics in results["splits"].values():
        for name in ("accuracy", "accuracy/audio", "probe/visual", "cross_entropy", "tc_bound"):
            assert number(read_name(name), metrics[name]) in table
    outputs = {s: read_outputs(run / f"outputs-{s}.npz") for s in ("validation", "test")}
    analyses = json.loads((run / "analysis.json").read_text())
    again = analyse_splits(outputs)
    for split, analysis in analyses.items():
        assert again[split]["accuracy"] == pytest.approx(analysis["accuracy"])
        assert again[split]["confusion"] == analysis["confusion"]


def test_a_comparison_has_the_numbers_that_it_had():
    comparison = golden("comparison/comparison.json")
    expected = (GOLDEN / "comparison/comparison.csv").read_text()
    assert comparison_csv(comparison["runs"], comparison["failed"]) == expected


def test_a_report_is_made_of_runs_and_a_study(tmp_path):
    shutil.copytree(GOLDEN, tmp_path / "old")
    patterns = [str(tmp_path / "old" / name) for name in ("comparison", "study")]
    write_report(patterns, tmp_path / "report")
    report = (tmp_path / "report" / "report.md").read_text()
    comparison = golden("comparison/comparison.json")
    for row in comparison["rows"]:
        assert f"{100 * row['metrics']['accuracy']['mean']:.1f}" in report
    for point in golden("study/study.json")["points"]:
        assert f"{point['rows'][0]['metrics']['cross_entropy']['mean']:.4f}" in report


@pytest.mark.parametrize("name", TRAINING)
def test_each_method_trains_to_the_same_numbers(name, devices, tmp_path_factory):
    case = TRAINING[name]
    options = {f"method__{name}": text for name, text in case["options"].items()}
    config = tiny_config(method__kind=case["method"], model__fusion=case["fusion"], **options)
    setup = build.build(config, str(tmp_path_factory.getbasetemp() / "golden-data"), devices[:2])
    initial = passes.initial_state(setup)
    state, key = setup.parallel.replicate((initial, training_key(config.seed)))
    state = passes.epoch_opener(setup)(state, 1)
    step = setup.programs.step
    batches = passes.training_batches(setup, 0)
    for expected, batch in zip(case["steps"], batches, strict=False):
        state, metrics = step(state, setup.parallel.put(batch), key)
        found = setup.parallel.scalars(metrics)
        found.pop("bounded_steps", None)  # which came later
        # The last bits of float32 sums are another release of XLA's; a change of a formula is more.
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
