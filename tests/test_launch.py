"""The command line: a whole run by a new user, and wrong arguments."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

from tcmax_jax.launch import main, split_overrides

ROOT = Path(__file__).parents[1]
TINY = [
    "--config.data.train_examples=40",
    "--config.data.validation_examples=20",
    "--config.data.test_examples=20",
    "--config.training.epochs=2",
    "--config.training.batch_size=8",
    "--config.training.eval_batch_size=8",
]


def launch(*arguments, cwd):
    """Runs launch.py from another folder, as a user may."""
    command = [sys.executable, str(ROOT / "launch.py"), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=_environment(), check=False
    )


def _environment():
    import os

    return os.environ | {"PYTHONPATH": str(ROOT)}


def test_prepare_train_evaluate(tmp_path):
    folders = [f"--data_dir={tmp_path / 'data'}", f"--workdir={tmp_path / 'run'}"]
    prepared = launch("--mode=prepare", *folders, *TINY, cwd=tmp_path)
    assert prepared.returncode == 0, prepared.stderr
    assert "prepared: " in prepared.stdout

    trained = launch(*folders, *TINY, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "epoch 2/2" in trained.stderr
    for title in ("fused accuracy", "audio accuracy (split)", "cross-entropy", "TC bound (nats)"):
        assert title in trained.stdout
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert f"{results['splits']['test']['accuracy']:.4f}" in trained.stdout

    evaluated = launch("--mode=evaluate", *folders, cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert evaluated.stdout.splitlines()[:-1] == trained.stdout.splitlines()[:-2]

    workdir, model = folders[1], tmp_path / "model"
    exported = launch("--mode=export", workdir, f"--export={model}", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert {path.name for path in model.iterdir()} == {
        "params.npz", "model.json", "classifier.jax_export"
    }  # fmt: skip
    new = ["--clips=new.csv", "--predictions=out.csv", "--allow_skipped"]
    predicted = launch("--mode=predict", workdir, *new, cwd=tmp_path)
    assert predicted.returncode == 1
    assert "error: Expected a run on clips, got one on the built-in" in predicted.stderr


def test_compare_again_and_probe(tmp_path):
    arguments = [
        f"--data_dir={tmp_path / 'data'}", f"--workdir={tmp_path / 'all'}", *TINY,
        '--config.comparison.methods=["joint", "mla"]', "--config.comparison.seeds=[0]",
        "--config.training.probe=false",
    ]  # fmt: skip
    first = launch("--mode=compare", *arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    head, joint, mla = first.stdout.splitlines()[:3]
    titles = "method fusion seeds fused recalibrated audio (split) visual (split) minus joint"
    assert " ".join(head.split()) == titles
    assert joint.startswith("joint")
    assert mla.startswith("mla     share_head  1")
    again = launch("--mode=compare", *arguments, cwd=tmp_path)
    assert again.stdout == first.stdout
    assert "[2/2] mla-share_head-seed0: finished before" in again.stderr

    run = tmp_path / "all" / "mla-share_head-seed0"
    dropped = "--drop_modality=visual"
    probed = launch("--mode=probe", dropped, f"--workdir={run}", arguments[0], cwd=tmp_path)
    assert probed.returncode == 0, probed.stderr
    assert "fused accuracy without visual" in probed.stdout
    assert "audio accuracy (probe)" in probed.stdout
    analysed = launch("--mode=analyse", f"--workdir={run}", cwd=tmp_path)
    assert analysed.returncode == 0, analysed.stderr
    assert "accuracy without visual" in analysed.stdout
    assert "probe/visual" in json.loads((run / "results.json").read_text())["splits"]["test"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.optimizer.lr=1"], "Expected a field of optimizer (name, learning_rate"),
        (["--experiment=nowhere.py"], "Expected an experiment file, got nowhere.py"),
        (["--mode=evaluate", "--workdir=empty"], "Expected the folder of a run, got empty"),
        (["--mode=probe", "--workdir=empty"], "Expected the folder of a run, got empty"),
        (["--mode=predict", "--workdir=empty"], "Expected --clips=PATH with --mode=predict, got"),
        (["--mode=export", "--export=model"], "Expected --workdir=PATH with --mode=export, got"),
        (
            ["--mode=export", "--export=model", "--workdir=empty", "--data_dir=data"],
            "Expected no --data_dir with --mode=export: the run in --workdir holds all",
        ),
        (["--mode=export", "--export=model", "--workdir=empty"], "Expected the folder of a run"),
        (["--clips=new.csv"], "Expected --clips with --mode=predict only, got mode train"),
        (["--drop_modality=visual"], "Expected --drop_modality with --mode=evaluate or probe"),
        (["--mode=analyse", "--workdir=empty"], "Expected outputs of an evaluation in empty, got"),
        (["--mode=analyse"], "Expected --workdir=PATH with --mode=analyse, got none"),
        (["--step=3"], "Expected --step with --mode=evaluate or probe only, got mode train"),
        (["--config.method.name=ogn"], "expected tags: 'tcmax', 'joint'"),
        (["--config.method.name=mla"], "cannot train model.fusion=concat; use one of share_head"),
        (["--config.method.name=agm", "--config.method.alpha=-1"], "should be greater than 0"),
        (["--mode=compare", '--config.comparison.fusions=["cat"]'], "'concat'"),
        (["--raw_dir=raw"], "Expected a field of data (kind, train_examples"),
        ([f"--experiment={ROOT}/experiments/ave.py", "--mode=prepare"], "pass --raw_dir=FOLDER of"),
        (
            [f"--experiment={ROOT}/experiments/ave.py", "--raw_dir=nowhere"],
            "nowhere: expected the folder of the raw data, got none there; correct --raw_dir",
        ),
        (["--allow_skipped"], "Expected a field of data (kind, train_examples"),
        (["train"], "Expected flags only (--name=value), got 'train'"),
        (["--config.seed"], "Expected a value for --config.seed, got none"),
        (
            ["--mode=doctor", "--config.training.batch_size=6"],
            "error: Expected training.batch_size to be a multiple of the 4 devices, got 6.",
        ),
    ],
)
def test_wrong_arguments_end_with_a_message(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as stop:
        overrides, rest = split_overrides(["launch.py", *arguments])
        main(flags.FLAGS(rest), overrides)
    assert stop.value.code not in (None, 0)
    assert message in f"{capsys.readouterr().out}{stop.value.code}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.optimizer.lr=1", "error: Expected a field of optimizer (name, learning_rate"),
        ("--config.seed", "Expected a value for --config.seed, got none"),
        ("--modus=train", "Unknown command line flag 'modus'"),
        ("--mode=fit", "value should be one of <prepare|train|evaluate|probe|"),
    ],
)
def test_the_command_fails_without_a_traceback(tmp_path, argument, message):
    result = launch(argument, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_overrides_are_separated_from_flags():
    overrides, rest = split_overrides(
        ["launch.py", "--config.a.b=1=2", "--mode=train", "--config.c", "x y"]
    )
    assert overrides == {"a.b": "1=2", "c": "x y"}
    assert rest == ["launch.py", "--mode=train"]
