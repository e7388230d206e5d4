"""Studies: a comparison for each value of a field, gone on with, and told as a table."""

import json

import pytest

from tcmax_jax.commands import study
from tcmax_jax.evaluation.reports.studies import study_markdown
from tcmax_jax.models.fusion import Concat, Sum
from tcmax_jax.training import loop
from tcmax_jax.training.config.tree import ConfigError
from tests.training.tiny import tiny_config

FAST = {"training__epochs": 2, "training__probe": "false", "comparison__seeds": [0, 1]}


def studying(field, values, **overrides):
    return tiny_config(
        study__field=field, study__values=json.dumps(values), **{**FAST, **overrides}
    )


def test_a_field_of_the_method_studies_that_method_alone():
    config = studying("method.num_negatives", [16, None], model__fusion="gated")
    recipes = study.variations(config)
    assert list(recipes) == ["16", "null"]
    assert [r.comparison.methods for r in recipes.values()] == [
        (recipe.method,) for recipe in recipes.values()
    ]
    assert [r.method.num_negatives for r in recipes.values()] == [16, None]


def test_any_other_field_studies_the_whole_comparison():
    methods = '["joint", "tcmax"]'
    config = studying("data.audio_signal", [0.1, 0.5], comparison__methods=methods)
    recipes = study.variations(config)
    assert [r.data.audio_signal for r in recipes.values()] == [0.1, 0.5]
    assert all(r.comparison == config.comparison for r in recipes.values())


def test_what_a_comparison_varies_itself_takes_the_values_of_the_study():
    fusions = study.variations(studying("model.fusion", ["concat", "sum"])).values()
    assert [recipe.comparison.fusions for recipe in fusions] == [(Concat(),), (Sum(),)]
    seeds = study.variations(studying("seed", [3, 4])).values()
    assert [recipe.comparison.seeds for recipe in seeds] == [(3,), (4,)]


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("comparison.seeds", [[1]], "a field that a run depends on, got study.field=comparison.se"),
        (None, [], "Expected the field that the study changes, got none. For instance"),
        ("training.size", [1], r"Expected a field of training .*, got 'size'"),
        ("training.batch_size", [0], r"training.batch_size.*greater than 0"),
    ],
)
def test_what_cannot_be_studied(field, values, message):
    config = tiny_config() if field is None else studying(field, values)
    with pytest.raises(ConfigError, match=message):
        study.variations(config)


@pytest.mark.parametrize(
    ("values", "message"),
    [([], "got none"), ([1, 1], "names each one once"), ([1, "1"], "names each one once")],
)
def test_the_values_are_there_once(values, message):
    with pytest.raises(ConfigError, match=f"study.values .*{message}"):
        studying("training.batch_size", values)


def test_a_study_is_run_once_and_told(tmp_path, monkeypatch):
    config, data_dir = studying("method.num_negatives", [8, 16]), str(tmp_path / "data")
    said = []
    found = study.run_study(config, tmp_path / "study", data_dir, said.append)
    assert [line for line in said if line.startswith("(")] == [
        "(1/2) method.num_negatives = 8",
        "(2/2) method.num_negatives = 16",
    ]
    assert [point["value"] for point in found["points"]] == [8, 16]
    for point in found["points"]:
        [row] = point["rows"]
        folder = tmp_path / "study" / f"method.num_negatives={point['value']}"
        label = f"tcmax-num_negatives={point['value']}"
        results = [
            json.loads((folder / f"{label}-concat-seed{seed}" / "results.json").read_text())
            for seed in (0, 1)
        ]
        accuracies = [r["splits"]["test"]["accuracy"] for r in results]
        assert row["metrics"]["accuracy"]["mean"] == pytest.approx(sum(accuracies) / 2)
        assert row["cost"]["seconds_per_step"]["n"] == 2
        assert 0 < row["cost"]["seconds_per_step"]["mean"] < 60
        assert 0 < row["cost"]["step_memory"]["mean"] < 10
        losses = [
            json.loads(line)["loss"]
            for seed in (0, 1)
            for line in (folder / f"{label}-concat-seed{seed}" / "metrics.jsonl")
            .read_text()
            .splitlines()
            if '"epoch": 2, "split": "train"' in line
        ]
        assert row["cost"]["loss"]["mean"] == pytest.approx(sum(losses) / len(losses))
    assert json.loads((tmp_path / "study" / "study.json").read_text()) == found
    lines = (tmp_path / "study" / "study.md").read_text().splitlines()
    assert lines[0].startswith("| method.num_negatives | method | fusion | seeds | fused (%) |")
    assert lines[2].startswith("| 8 | tcmax-num_negatives=8 | concat | 2 | ")

    monkeypatch.setattr(loop, "train", lambda *args: pytest.fail("trained again"))
    monkeypatch.setattr(study, "step_memory", lambda setup: pytest.fail("compiled again"))
    assert study.run_study(config, tmp_path / "study", data_dir, said.append) == found


def test_the_table_says_what_there_is():
    def interval(mean, half=None):
        return {"mean": mean, "half_width": half, "n": 1 if half is None else 3}

    row = {"method": "joint", "fusion": "sum", "seeds": [0], "difference": None}
    metrics = {"accuracy": interval(0.5), "accuracy/audio": interval(0.25, 0.125)}
    metrics["probe/audio"] = interval(0.5)  # not among the columns
    cost = {"seconds_per_step": interval(0.0125, 0.001), "step_memory": interval(321.44)}
    points = [
        {"value": 0.1, "rows": [row | {"metrics": metrics, "cost": cost}]},
        {
            "value": None,
            "rows": [
                row
                | {
                    "metrics": {"f1": interval(2)},
                    "cost": None,
                    "difference": interval(0.125, 0.0625),
                }
            ],
        },
    ]
    table = study_markdown({"field": "data.audio_signal", "points": points}).splitlines()
    assert table[:4] == [
        "| data.audio_signal | method | fusion | seeds | fused (%) | audio (split, %) "
        "| difference (points) | time of a step (ms) | memory of a step (MiB) | f1 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| 0.1 | joint | sum | 1 | 50.00 | 25.00 ±12.50 | - | 12.50 ±1.00 | 321.4 | - |",
        "| null | joint | sum | 1 | - | - | +12.50 ±6.25 | - | - | 2.0000 |",
    ]
