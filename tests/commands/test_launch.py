"""The command line: a whole run by a new user, and wrong arguments."""

import json
import re
import subprocess
import sys

import pytest

from tcmax_jax import __version__
from tcmax_jax.commands import recipe
from tcmax_jax.commands.modes import MODES
from tcmax_jax.launch import split_overrides
from tests.command import ROOT, launch, launch_here

TINY = [
    "--config.data.train_examples=40",
    "--config.data.validation_examples=20",
    "--config.data.test_examples=20",
    "--config.training.epochs=2",
    "--config.training.batch_size=8",
    "--config.training.eval_batch_size=8",
]


def test_prepare_train_evaluate(tmp_path):
    folders = [f"--data_dir={tmp_path / 'data'}", f"--workdir={tmp_path / 'run'}"]
    prepared = launch_here("--mode=prepare", *folders, *TINY, cwd=tmp_path)
    assert prepared.returncode == 0, prepared.stderr
    assert "prepared: " in prepared.stdout

    trained = launch(*folders, *TINY, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert re.search(r"^ *epoch +step +loss +examples/s +wait +fused +audio", trained.stderr, re.M)
    assert re.search(r"^ *2/2 +10 +-?\d\.\d{3} ", trained.stderr, re.M)
    phases = ["generating", "compiling the t", "compiling the e", "evaluating", "analysing"]
    assert [p for p in phases if p in prepared.stderr + trained.stderr] == phases
    lines = (trained.stderr + trained.stdout).splitlines()[:-1]
    # Some releases of grain and XLA log lines of their own.
    lines = [line for line in lines if not re.match(r"[IWEF]\d{4} |WARNING:", line)]
    assert max(map(len, lines)) <= 80
    for title in (
        "fused accuracy (%)",
        "accuracy of audio (marginal, %)",
        "cross-entropy",
        "TC bound (nats)",
    ):
        assert title in trained.stdout
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert f"{100 * results['splits']['test']['accuracy']:.2f}" in trained.stdout

    evaluated = launch_here("--mode=evaluate", *folders, cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert evaluated.stdout.splitlines()[:-1] == trained.stdout.splitlines()[:-2]

    workdir, model = folders[1], tmp_path / "model"
    exported = launch_here("--mode=export", workdir, f"--export={model}", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert {path.name for path in model.iterdir()} == {
        "params.npz", "model.json", "classifier.jax_export"
    }  # fmt: skip
    new = ["--clips=new.csv", "--predictions=out.csv", "--allow_skipped"]
    predicted = launch_here("--mode=predict", workdir, *new, cwd=tmp_path)
    assert predicted.returncode == 1
    assert "error: Expected a run on clips, got one on the data set synthetic" in predicted.stderr


def test_compare_again_and_probe(tmp_path):
    arguments = [
        f"--data_dir={tmp_path / 'data'}", f"--workdir={tmp_path / 'all'}", *TINY,
        '--config.comparison.methods=["joint", "mla"]', "--config.comparison.seeds=[0]",
        "--config.training.probe=false",
    ]  # fmt: skip
    first = launch_here("--mode=compare", *arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    *head, joint, mla = first.stdout.splitlines()[:5]
    # 20 examples of validation are too few for a recalibrated accuracy.
    assert [line.split() for line in head] == [
        ["audio", "visual", "audio"],
        ["fused", "(marginal,", "(marginal,", "(split,"],
        ["method", "fusion", "seeds", "(%)", "%)", "%)", "%)"],
    ]
    assert joint.startswith("joint")
    assert mla.split()[:3] == ["mla", "share_head", "1"]
    again = launch_here("--mode=compare", *arguments, cwd=tmp_path)
    assert again.stdout == first.stdout
    assert "[2/2] mla-share_head-seed0: finished before" in again.stderr

    run = tmp_path / "all" / "mla-share_head-seed0"
    dropped = "--drop_modality=visual"
    probed = launch_here("--mode=probe", dropped, f"--workdir={run}", arguments[0], cwd=tmp_path)
    assert probed.returncode == 0, probed.stderr
    assert "fused accuracy without visual" in probed.stdout
    assert "accuracy of audio (probe) (%)" in probed.stdout
    analysed = launch_here("--mode=analyse", f"--workdir={run}", cwd=tmp_path)
    assert analysed.returncode == 0, analysed.stderr
    assert "accuracy without visual" in analysed.stdout
    assert "probe/visual" in json.loads((run / "results.json").read_text())["splits"]["test"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.optimizer.lr=1"], "Expected a field of optimizer (kind, learning_rate"),
        (["--config.optimizer.learning_rat=1"], "Did you mean optimizer.learning_rate?"),
        (["--config.method.name=joint"], "got 'name'. Did you mean method.kind?"),
        (["--config.batch_size=1"], "Did you mean training.batch_size?"),
        (["--config.trainig.epochs=1"], "Did you mean training.epochs?"),
        (["--experiment=nowhere.py"], "or the path of a Python file with a function config(), got"),
        (["--experiment=crema"], "Did you mean crema_d?"),
        (["--mode=report", "--config.seed=1"], "Expected no --config.seed with --mode=report"),
        (["--mode=evaluate", "--workdir=empty"], "Expected the folder of a run, got empty"),
        (["--mode=probe", "--workdir=empty"], "Expected the folder of a run, got empty"),
        (["--mode=predict", "--workdir=empty"], "Expected --clips=PATH with --mode=predict, got"),
        (["--mode=export", "--export=model"], "Expected --workdir=PATH with --mode=export, got"),
        (
            ["--mode=export", "--export=model", "--workdir=empty", "--data_dir=data"],
            "Expected no --data_dir with --mode=export, which does not read it; it is for",
        ),
        (["--mode=export", "--export=model", "--workdir=empty"], "Expected the folder of a run"),
        (
            ["--clips=new.csv"],
            "Expected no --clips with --mode=train, which does not read it",
        ),
        (
            ["--drop_modality=visual"],
            "Expected no --drop_modality with --mode=train, which does",
        ),
        (["--mode=analyse", "--workdir=empty"], "Expected outputs of an evaluation in empty, got"),
        (["--mode=analyse"], "Expected --workdir=PATH with --mode=analyse, got none"),
        (["--workdir=gs://b/run"], "--workdir: Expected a path of this machine, got gs://b/run. M"),
        (["--data_dir=s3://b/data"], "--data_dir: Expected a path of this machine, got s3://b/da"),
        (
            ["--mode=report", "--runs=runs/a,gs://b/run"],
            "--runs: Expected a path of this machine, got gs://b/run. Mount it as a folder, a",
        ),
        (
            ["--config.data.kind=manifest", "--config.data.manifest=gs://b/list.csv"],
            "data: Expected a path of this machine, got gs://b/list.csv. Mount it",
        ),
        (
            ["--step=3"],
            "does not read it; it is for --mode=evaluate, probe.",
        ),
        (["--step=0"], "Expected no --step with --mode=train, which does not read it"),
        (["--config.seed=4294967296"], "seed: Input should be less than 4294967296, got"),
        ([f"--config.training.epochs=1{60 * '0'}"], "training.epochs: "),
        (["--config.training.epochs=true"], "epochs: Input should be a valid integer, got True"),
        (["--config.optimizer.learning_rate=true"], "should be a valid number, got True"),
        (["--config.training.profile_steps=[5,2]"], "Expected profile_steps [first, last], got [5"),
        (
            ["--coordinator=nohost", "--num_processes=2", "--process_id=0"],
            "Expected --coordinator=HOST:PORT of the first process, got 'nohost' (no HOST:PORT).",
        ),
        (["--config.method.kind=ogn"], "method.kind: Expected one of joint, unimodal, tcmax"),
        (["--config.method.kind=mla"], "cannot train model.fusion=concat; use one of share_head"),
        (["--config.method.kind=agm", "--config.method.alpha=-1"], "should be greater than 0"),
        (
            ["--mode=compare", '--config.comparison.fusions=["cat"]'],
            "Expected one of sum, concat, ",
        ),
        (["--raw_dir=raw"], "Expected a field of data (kind, train_examples"),
        ([f"--experiment={ROOT}/experiments/ave.py", "--mode=prepare"], "Pass --raw_dir=FOLDER of"),
        (
            [f"--experiment={ROOT}/experiments/ave.py", "--raw_dir=nowhere"],
            "nowhere: Expected the folder of the raw data, got none there. Correct --raw_dir",
        ),
        (["--allow_skipped"], "Expected a field of data (kind, train_examples"),
        (["train"], "Expected flags only (--name=value), got 'train'"),
        (["--config.seed"], "Expected a value for --config.seed, got none"),
        (
            ["--mode=doctor", "--config.training.batch_size=6"],
            "error: Expected training.batch_size to be a multiple of the 4 devices, got 6.\n",
        ),
    ],
)
def test_wrong_arguments_end_with_a_message(tmp_path, arguments, message):
    result = launch_here(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stdout + result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.optimizer.lr=1", "error: Expected a field of optimizer (kind, learning_rate"),
        ("--config.seed", "Expected a value for --config.seed, got none"),
        ("--modus=train", "Unknown command line flag 'modus'"),
        ("--mode=fit", "value should be one of <train|prepare|evaluate|probe|"),
    ],
)
def test_the_command_fails_without_a_traceback(tmp_path, argument, message):
    result = launch(argument, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("def config(:", ", line 1", "SyntaxError: invalid syntax. Correct"),
        ("import math\nimport nothere", ", line 2", "named 'nothere'. Run pip install nothere, or"),
        ("import tcmax_jax.nothere", ", line 1", "No module named 'tcmax_jax.nothere'. Correct"),
        ("def config():\n  return Confg()", ", line 2", "NameError: name 'Confg' is not defined"),
        ("def config():\n  return 1 // 0", ", line 2", "ZeroDivisionError: integer division"),
        ("def config():\n  raise KeyError(3)", ", line 2", "KeyError: 3"),
        ("\xff", "", "UnicodeDecodeError: "),
    ],
)
@pytest.mark.parametrize("name", ["recipe.py", "recipe.txt"])
def test_a_recipe_that_cannot_be_run_is_named_with_the_line(tmp_path, content, line, message, name):
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    result = launch_here("--mode=config", f"--experiment={name}", cwd=tmp_path)
    assert result.returncode == 1
    start = f"error: {name}{line}: Expected a function config() that returns a Config, got "
    assert result.stderr.startswith(start) and message in result.stderr
    assert result.stderr.count("\n") == 2


def test_ctrl_c_ends_with_a_line(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "describe", interrupted)
    result = launch_here("--mode=config", cwd=tmp_path)
    assert result == (130, "", "Stopped (Ctrl-C). Run the same command again to continue.\n")


def test_overrides_are_separated_from_flags():
    overrides, rest = split_overrides(
        ["launch.py", "--config.a.b=1=2", "--mode=train", "--config.c", "x y"]
    )
    assert overrides == {"a.b": "1=2", "c": "x y"}
    assert rest == ["launch.py", "--mode=train"]


def test_every_mode_reads_flags_that_there_are():
    text = launch("--help", cwd=ROOT).stdout
    flags = set(re.findall(r"^  --(\w+)", text, re.M))
    for name, mode in MODES.items():
        assert f"--mode={name}" in text
        assert set(mode.reads) <= flags
        assert set(mode.needs) <= set(mode.reads)
        assert callable(mode.load())
    assert max(map(len, text.splitlines())) <= 80


def test_help_about_one_mode():
    text = launch("--mode=predict", "--help", cwd=ROOT).stdout
    assert "  --mode=predict\n" in text and "  --clips=...\n" in text
    assert "--mode=report" not in text and "  --runs" not in text


@pytest.mark.parametrize("module", [["-m", "tcmax_jax"], [str(ROOT / "launch.py")]])
def test_the_version(tmp_path, module):
    command = [sys.executable, *module, "--version"]
    assert subprocess.check_output(command, text=True, cwd=ROOT) == f"tcmax_jax {__version__}\n"


def test_the_configuration_of_a_recipe_is_listed(tmp_path):
    listed = launch_here(
        "--mode=config", "--experiment=crema_d", "--config.method=joint", cwd=tmp_path
    )
    assert listed.returncode == 0
    assert "* training.batch_size = 32\n      integer > 0; default 64. examples in a step" in (
        listed.stdout
    )
    assert (
        "  data.raw_dir = null\n      text or null; default null. that folder; of" in listed.stdout
    )
    assert 'method.kind = "joint"\n      "joint" or "unimodal" or' in listed.stdout
    assert max(map(len, listed.stdout.splitlines())) <= 80


def test_a_missing_package_is_named_with_its_install_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [n for n in sys.modules if n.startswith("tcmax_jax.evaluation.reports")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [n for n in sys.modules if n == "tcmax_jax.commands.report"]:
        monkeypatch.delitem(sys.modules, name)
    result = launch_here("--mode=report", "--runs=a", cwd=tmp_path)
    assert result.returncode == 1
    assert "error: --mode=report needs the package matplotlib, which is not installed. Run" in (
        result.stderr
    )
    assert "Run pip install 'tcmax_jax[report]', in a checkout" in result.stderr
