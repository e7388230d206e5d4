"""Comparisons: what is run, what is not run again, what a failure leaves."""

import csv
import io
import json
import shutil

import pytest

from tcmax_jax.commands import compare
from tcmax_jax.evaluation.finite import NonFiniteError
from tcmax_jax.methods import AGM, MLA, OGM, OGMGE, Joint, TCMax, Unimodal
from tcmax_jax.training import fit, logs, loop
from tcmax_jax.training.config import Comparison
from tcmax_jax.training.config.tree import ConfigError, from_dict, to_dict
from tests.command import launch_here
from tests.harms import change
from tests.training.tiny import tiny_config


def comparing(*methods, fusions=("concat",), seeds=(0,), **overrides):
    """Returns a tiny recipe with a comparison."""
    overrides = {"training__epochs": 1, "training__probe": "false", **overrides}
    tree = to_dict(tiny_config(**overrides))
    tree["comparison"] = to_dict(Comparison(methods=methods, fusions=fusions, seeds=seeds))
    return from_dict(tree)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory, data_dir):
    """Returns the recipe, the folder and the results of a comparison."""
    config, folder = comparing(Joint(), TCMax()), tmp_path_factory.mktemp("compared") / "all"
    return config, folder, compare.run_comparison(config, folder, data_dir, str)


@pytest.fixture
def compared(trained_once, tmp_path):
    """Returns the same, in a copy of its folder."""
    config, folder, first = trained_once
    return config, shutil.copytree(folder, tmp_path / "all"), first


def test_plan_goes_seed_by_seed_and_gives_each_method_a_head_it_can_train():
    config = comparing(Joint(), MLA(), TCMax(), fusions=("concat", "film"), seeds=(0, 7))
    planned = [(c.method.kind, c.model.fusion.kind, c.seed) for c in compare.plan(config)]
    first = [
        ("joint", "concat"),
        ("joint", "film"),
        ("mla", "share_head"),
        ("tcmax", "concat"),
        ("tcmax", "film"),
    ]
    assert planned == [(*pair, seed) for seed in (0, 7) for pair in first]


def test_a_method_comes_again_with_other_options_and_its_runs_are_named_by_them():
    config = comparing(
        Unimodal(), Unimodal(modality="audio"), AGM(alpha=1.5), AGM(alpha=1.5, response="split")
    )
    planned = compare.plan(config)
    assert [each.method for each in planned] == list(config.comparison.methods)
    assert [each.method.label() for each in planned] == [
        "unimodal",
        "unimodal-modality=audio",
        "agm-alpha=1.5",
        "agm-alpha=1.5-response=split",
    ]


def test_agm_by_parts_falls_back_to_a_head_that_has_parts():
    config = comparing(AGM(), AGM(response="split"), fusions=("film", "gated"))
    planned = [(c.method.label(), c.model.fusion.label()) for c in compare.plan(config)]
    assert planned == [("agm", "film"), ("agm", "gated"), ("agm-response=split", "sum")]


def test_what_does_not_fit_the_recipe_is_explained():
    message = (
        r"^comparison of unimodal-modality=smell with concat: "
        r"method.modality is one of audio, visual, got 'smell'$"
    )
    with pytest.raises(ConfigError, match=message):
        compare.plan(comparing(Joint(), Unimodal(modality="smell")))


def test_every_planned_run_is_a_valid_configuration():
    for each in compare.plan(tiny_config()):
        assert from_dict(to_dict(each)) == each


def test_finished_runs_are_not_repeated(compared, data_dir, monkeypatch):
    config, folder, first = compared
    assert [row["method"] for row in first["rows"]] == ["joint", "tcmax"]
    stored = json.loads((folder / "tcmax-concat-seed0" / "results.json").read_text())
    assert first["runs"][1]["metrics"] == stored["splits"]["test"]
    rows = list(csv.DictReader(io.StringIO((folder / "comparison.csv").read_text())))
    assert float(rows[1]["accuracy"]) == stored["splits"]["test"]["accuracy"]
    assert "| joint | concat | 1 |" in (folder / "comparison.md").read_text()
    assert json.loads((folder / "comparison.json").read_text()) == first

    said = []
    monkeypatch.setattr(loop, "train", lambda *args: pytest.fail("trained again"))
    assert compare.run_comparison(config, folder, data_dir, said.append) == first
    assert said[-1] == "[2/2] tcmax-concat-seed0: finished before"


def test_finished_runs_on_other_data_are_not_mixed(compared, data_dir):
    config, folder, _ = compared
    path = folder / "tcmax-concat-seed0" / "results.json"
    change(path, json.dumps(json.loads(path.read_text()) | {"dataset": "older"}))
    message = r"one data set in .*all, got joint-concat-seed0 on synthetic/.* and tcmax-.* on older"
    with pytest.raises(ConfigError, match=message):
        compare.run_comparison(config, folder, data_dir, str)


def test_two_entries_of_one_method_have_folders_and_rows_of_their_own(tmp_path, data_dir):
    config = comparing(Unimodal(), Unimodal(modality="audio"))
    comparison = compare.run_comparison(config, tmp_path / "all", data_dir, str)
    rows = ["unimodal", "unimodal-modality=audio"]
    assert [row["method"] for row in comparison["rows"]] == rows
    assert [run["method"] for run in comparison["runs"]] == rows
    for name in rows:
        assert (tmp_path / "all" / f"{name}-concat-seed0" / "results.json").exists()


def test_a_changed_recipe_is_refused_before_anything_is_trained(compared, data_dir):
    _, folder, _ = compared
    changed = comparing(Unimodal(), Joint(), training__batch_size=8)
    with pytest.raises(ConfigError, match=r"training.batch_size: 16 -> 8"):
        compare.run_comparison(changed, folder, data_dir, str)
    assert not (folder / "unimodal-concat-seed0").exists()


@pytest.fixture
def joint_fails(monkeypatch):
    """Lets runs of joint training meet NaN."""
    train = loop.train

    def failing(config, *args):
        if config.method.kind == "joint":
            raise NonFiniteError("loss = nan at step 3")
        return train(config, *args)

    monkeypatch.setattr(loop, "train", failing)


def test_a_failed_run_is_listed_and_the_others_go_on(tmp_path, data_dir, joint_fails):
    config = comparing(Joint(), TCMax())
    comparison = compare.run_comparison(config, tmp_path / "all", data_dir, str)
    assert [(r["method"], r["seeds"], r["failed"]) for r in comparison["rows"]] == [
        ("tcmax", [0], []),
        ("joint", [], [0]),
    ]
    lost = {"method": "joint", "fusion": "concat", "seed": 0, "reason": "loss = nan at step 3"}
    assert comparison["failed"] == [lost]
    assert json.loads((tmp_path / "all" / "comparison.json").read_text()) == comparison
    for ending, text in (
        ("md", "- failed: joint, concat, seed 0: loss = nan at step 3"),
        ("csv", "joint,concat,0,loss = nan at step 3"),
    ):
        assert text in (tmp_path / "all" / f"comparison.{ending}").read_text()


def test_the_command_says_a_failure_once_and_fails(tmp_path, joint_fails):
    sizes = ("train_examples=40", "validation_examples=20", "test_examples=20")
    result = launch_here(
        "--mode=compare", *(f"--config.data.{size}" for size in sizes),
        "--config.training.epochs=1", "--config.training.batch_size=8",
        '--config.comparison.methods=["joint", "tcmax"]', "--config.comparison.seeds=[0]",
        "--config.training.probe=false", f"--data_dir={tmp_path / 'data'}", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 1
    assert (result.stdout + result.stderr).count("loss = nan at step 3") == 1
    assert "0 (failed: seed 0)" in result.stdout


def test_where_every_run_fails_the_failures_are_written_down(tmp_path, data_dir, monkeypatch):
    def failing(*args):
        raise NonFiniteError("loss = nan at step 3")

    monkeypatch.setattr(loop, "train", failing)
    with pytest.raises(ArithmeticError, match=r"got 2 that failed; the reasons are above"):
        compare.run_comparison(comparing(Joint(), TCMax()), tmp_path, data_dir, str)
    assert len(json.loads((tmp_path / "comparison.json").read_text())["failed"]) == 2


def test_repetition_is_refused():
    comparing(OGM(), OGMGE(), OGM(alpha=0.1))
    with pytest.raises(ValueError, match=r"comparison.methods names each one once, got .*'ogm'"):
        comparing(OGM(), OGM(alpha=0.1), OGM(alpha=0.8))
    with pytest.raises(ValueError, match=r"comparison.seeds names each one once, got \[1, 1\]"):
        comparing(Joint(), seeds=(1, 1))


def test_a_method_with_state_trains_through_the_loop_and_resumes_bit_equal(
    tmp_path, data_dir, monkeypatch
):
    # PMR has all of it: state, and a look at the data before each epoch. That the state of every
    # method survives a checkpoint is tested in tests/methods/test_conformance.py.
    config = tiny_config(method__kind="pmr", training__epochs=2)
    whole = loop.train(config, tmp_path / "whole", data_dir)
    assert 0 <= whole["splits"]["test"]["probe/audio"] <= 1

    class StopError(Exception):
        pass

    class Interrupted(logs.RunLog):
        def validation(self, step, epoch, *args):
            super().validation(step, epoch, *args)
            if epoch == 2:
                raise StopError

    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(fit, "open_log", Interrupted)
        loop.train(config, tmp_path / "broken", data_dir)
    assert loop.train(config, tmp_path / "broken", data_dir)["splits"] == whole["splits"]
