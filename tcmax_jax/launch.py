"""The command: reads flags, calls one function of the library.

Run it as `python launch.py` in a checkout, or as `tcmax_jax` where the package is installed.
"""

import os
import sys
from pathlib import Path

from absl import app, flags, logging

# Only light modules up here: decoding processes import the main module again.

_MODE = flags.DEFINE_enum(
    "mode", "train",
    ["prepare", "train", "evaluate", "probe", "analyse", "predict", "export", "compare", "study",
     "report", "difference", "estimate", "doctor"],
    "prepare: decode or generate the data set; train: train (preparing first if need be), or go on "
    "with an interrupted run, then evaluate; evaluate: evaluate the best checkpoint again; "
    "probe: the same with a linear probe on each frozen encoder; "
    "analyse: make analysis.json anew from the stored outputs of the run, without its model; "
    "predict: write what a run's best checkpoint says of the clips in --clips; "
    "export: write that classifier for use without this package, to --export; "
    "compare: train the methods, fusions and seeds of the recipe's section `comparison`, each run "
    "once, and tabulate them; "
    "study: the same for each value of the field in the section `study`; "
    "report: a page about the finished runs and studies in --runs; "
    "difference: a page about what changed between the two runs, or checkpoints, in --runs; "
    "estimate: total correlation of the arrays in --samples; "
    "doctor: look at devices, versions, data and speed, and say what is wrong and what to do.",
)  # fmt: skip
_EXPERIMENT = flags.DEFINE_string(
    "experiment", None, "A recipe, such as experiments/grid.py; the built-in synthetic set if none."
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the run; runs/<experiment>-<method>-seed<seed> if none "
    "(runs/<experiment>-compare for --mode=compare, -study for study; report or difference for "
    "these modes).",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of prepared data; $TFDS_DATA_DIR or ~/tensorflow_datasets if none."
)
_RAW_DIR = flags.DEFINE_string(
    "raw_dir", None, "Folder of a data set as its owners ship it; short for --config.data.raw_dir."
)
_ALLOW_SKIPPED = flags.DEFINE_bool(
    "allow_skipped", False, "Leave out clips that cannot be decoded, and list them, instead of "
    "stopping at the first; short for --config.data.allow_skipped=true.",
)  # fmt: skip
_CLIPS = flags.DEFINE_string(
    "clips", None, "With --mode=predict: a CSV file, id and as needed path, audio_path, start and "
    "end; where there is a label the accuracy is printed.",
)  # fmt: skip
_PREDICTIONS = flags.DEFINE_string(
    "predictions", None, "With --mode=predict: the CSV file to write, a row for each clip."
)
_EXPORT = flags.DEFINE_string("export", None, "With --mode=export: the folder to write.")
_RECALIBRATED = flags.DEFINE_bool(
    "recalibrated", False, "With --mode=predict or export: weigh the modalities as the evaluation "
    "of the run found best on validation.",
)  # fmt: skip
_DROP_MODALITY = flags.DEFINE_list(
    "drop_modality", [], "With --mode=evaluate or probe: modalities (a,b) without which to predict "
    "as well, all of them at once.",
)  # fmt: skip
_STEP = flags.DEFINE_integer(
    "step", None, "With --mode=evaluate or probe: the checkpoint after so many steps instead of "
    "the best one; its results go to steps/<step> of the run's folder.",
)  # fmt: skip
_TOTAL_CORRELATION = flags.DEFINE_bool(
    "total_correlation", False, "With --mode=analyse: estimate what features and label share, the "
    "chain of total correlation, as well (a minute or more).",
)  # fmt: skip
_RUNS = flags.DEFINE_list(
    "runs", [], "With --mode=report: folders of finished runs, comparisons or studies "
    "(runs/a,runs/b,more/*), runs on one data set. With --mode=difference: two folders of runs, "
    "or of their checkpoints as --step evaluates them (runs/a,runs/a/steps/800).",
)  # fmt: skip
_SAMPLES = flags.DEFINE_string(
    "samples", None, "With --mode=estimate: an .npz file, one array a variable, row i of each from "
    "example i; integers of rank 1 are labels. Its --config fields are those of "
    "tcmax_jax.estimators.config.Estimation.",
)  # fmt: skip
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "This is one of several processes, which the environment describes (TPU "
    "pod, SLURM, Open MPI, Kubernetes). Each process runs the same command.",
)  # fmt: skip
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of the first of several processes, where the environment does "
    "not describe them; with --num_processes and --process_id.",
)  # fmt: skip
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator: how many.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --coordinator: which one, from 0.")
_COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache", None, "Folder in which compiled programs are kept for the next start."
)
_PREFIX = "--config."
# Flags that some modes alone read.
_OWN_FLAGS = {
    "samples": ("estimate",),
    "runs": ("report", "difference"),
    "drop_modality": ("evaluate", "probe"),
    "step": ("evaluate", "probe"),
    "total_correlation": ("analyse",),
    "clips": ("predict",),
    "predictions": ("predict",),
    "export": ("export",),
    "recalibrated": ("predict", "export"),
}
EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: the same command goes on.


def run():
    """Runs the command line of this process."""
    overrides, rest = split_overrides(sys.argv)
    app.run(lambda argv: main(argv, overrides), argv=rest)


def split_overrides(argv):
    """Separates `--config.path=value` (or `--config.path value`) from all other arguments.

    Args:
      argv: the command line.

    Returns:
      ({path: value}, the other arguments).

    Raises:
      SystemExit: an override without a value.
    """
    overrides, rest, arguments = {}, [], iter(argv)
    for argument in arguments:
        if not argument.startswith(_PREFIX):
            rest.append(argument)
            continue
        path, equals, value = argument.removeprefix(_PREFIX).partition("=")
        if not equals and (value := next(arguments, None)) is None:
            sys.exit(f"Expected a value for {argument}, got none. Write {argument}=value.")
        overrides[path] = value
    return overrides, rest


def main(argv, overrides):
    """Runs one mode; errors in what the user gave end it with their message alone.

    With `--verbosity=1` they come with their traceback. A run that SIGTERM stops saves first, and
    exits with EXIT_PREEMPTED.

    Args:
      argv: what is left of the command line after the flags.
      overrides: {path: value} of configuration fields.
    """
    if argv[1:]:
        sys.exit(f"Expected flags only (--name=value), got {argv[1]!r}.")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    from tcmax_jax.training.preemption import PreemptedError, stopping

    try:
        _set_up_jax()
        with stopping():
            _run_mode(overrides)
    except PreemptedError as stop:
        print(stop, file=sys.stderr)
        sys.exit(EXIT_PREEMPTED)
    except (ValueError, OSError, ArithmeticError) as error:
        if logging.level_debug():
            raise
        sys.exit(f"error: {error}\n(--verbosity=1 shows where)")


def _set_up_jax():
    import jax

    from tcmax_jax.training import processes

    if _COMPILATION_CACHE.value:
        jax.config.update("jax_compilation_cache_dir", _COMPILATION_CACHE.value)
    which = (_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    if _DISTRIBUTED.value or which != (None, None, None):
        processes.join(*which)


def _run_mode(overrides):
    _check_own_flags()
    if _MODE.value == "estimate":
        return _estimate(overrides)
    if _MODE.value in ("predict", "export"):
        return _use_run(overrides)
    if _MODE.value == "analyse":
        return _analyse(overrides)
    if _MODE.value in ("report", "difference"):
        return _report(overrides)
    from tcmax_jax.data.memory import keep_freed_memory
    from tcmax_jax.evaluation.comparison import comparison_table
    from tcmax_jax.evaluation.study import study_markdown
    from tcmax_jax.evaluation.text import results_table
    from tcmax_jax.training import compare, loop, prepare, study
    from tcmax_jax.training import workdir as workdirs
    from tcmax_jax.training.config.overrides import load_experiment, override
    from tcmax_jax.training.processes import primary_first

    keep_freed_memory()
    if _ALLOW_SKIPPED.value:
        overrides = overrides | {"data.allow_skipped": "true"}
    if _RAW_DIR.value:
        overrides = overrides | {"data.raw_dir": _RAW_DIR.value}
    config = override(load_experiment(_EXPERIMENT.value), overrides)
    many = _MODE.value in ("compare", "study")
    kind = _MODE.value if many else f"{config.method.name}-seed{config.seed}"
    workdir = Path(_WORKDIR.value or Path("runs") / f"{config.name}-{kind}")
    data_dir = _DATA_DIR.value or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    data_dir = str(Path(data_dir).expanduser())
    match _MODE.value:
        case "prepare":
            _print(f"prepared: {primary_first(lambda: prepare.prepare_data(config, data_dir))}")
        case "train":
            results = loop.train(config, workdir, data_dir)
            _print(f"{results_table(results)}\nwritten to {workdir}/results.json")
        case "compare":
            comparison = compare.run_comparison(config, workdir, data_dir)
            table = comparison_table(comparison)
            _print(f"{table}\nwritten to {workdir}/comparison.json, .md and .csv")
        case "study":
            table = study_markdown(study.run_study(config, workdir, data_dir))
            _print(f"{table}\nwritten to {workdir}/study.json and .md")
        case "evaluate" | "probe":
            if _EXPERIMENT.value or overrides:
                workdirs.check(workdir, config)
            results = loop.evaluate(
                workdir,
                data_dir,
                probe=_MODE.value == "probe",
                dropped=_DROP_MODALITY.value,
                step=_STEP.value,
            )
            _print(results_table(results))
        case "doctor":
            _examine(config, workdir, data_dir)


def _check_own_flags():
    """Checks that no flag is given that another mode alone reads."""
    for flag in _OWN_FLAGS:
        modes = _OWN_FLAGS[flag]
        if flags.FLAGS[flag].value and _MODE.value not in modes:
            raise ValueError(
                f"Expected --{flag} with --mode={' or '.join(modes)} only, got mode {_MODE.value}."
            )


def _analyse(overrides):
    from tcmax_jax.evaluation.stored import analyse_stored
    from tcmax_jax.evaluation.text import analysis_text

    _check_unused(overrides, "the outputs in --workdir")
    if not _WORKDIR.value:
        raise ValueError("Expected --workdir=PATH with --mode=analyse, got none.")
    folder = Path(_WORKDIR.value)
    analyses = analyse_stored(folder, chain=_TOTAL_CORRELATION.value)
    print(f"{analysis_text(analyses)}\nwritten to {folder}/analysis.json")


def _check_unused(overrides, what):
    """Checks that nothing is given that a mode which reads only `what` has no use for."""
    unused = [f"--{f.name}" for f in (_EXPERIMENT, _DATA_DIR, _RAW_DIR, _ALLOW_SKIPPED) if f.value]
    unused += [f"{_PREFIX}{path}" for path in overrides]
    if unused:
        raise ValueError(f"Expected no {unused[0]} with --mode={_MODE.value}, which reads {what}.")


def _use_run(overrides):
    from tcmax_jax.training import export, predict
    from tcmax_jax.training import workdir as workdirs
    from tcmax_jax.training.config.overrides import override

    own = [flag for flag, modes in _OWN_FLAGS.items() if _MODE.value in modes]
    if missing := [flag for flag in ("workdir", *own) if flags.FLAGS[flag].value in (None, "")]:
        raise ValueError(f"Expected --{missing[0]}=PATH with --mode={_MODE.value}, got none.")
    if unused := [flag.name for flag in (_EXPERIMENT, _DATA_DIR, _RAW_DIR) if flag.value]:
        raise ValueError(
            f"Expected no --{unused[0]} with --mode={_MODE.value}: the run in --workdir holds all "
            "that is needed."
        )
    workdir = Path(_WORKDIR.value)
    config = override(workdirs.stored_config(workdir), overrides)
    workdirs.check(workdir, config)
    match _MODE.value:
        case "predict":
            prediction = predict.predict_file(
                workdir,
                Path(_CLIPS.value),
                Path(_PREDICTIONS.value),
                allow_skipped=_ALLOW_SKIPPED.value,
                outside_paths=getattr(config.data, "outside_paths", False),
                recalibrated=_RECALIBRATED.value,
            )
            text = predict.prediction_text(prediction)
            _print(f"{text}\nwritten to {_PREDICTIONS.value}")
        case "export":
            export.export(workdir, Path(_EXPORT.value), recalibrated=_RECALIBRATED.value)
            _print(f"written to {_EXPORT.value}: {', '.join(export.FILES)}")


def _examine(config, workdir, data_dir):
    from tcmax_jax.training.doctor import examine as doctor

    report = doctor.examine(config, workdir, data_dir)
    _print(doctor.report_text(report))
    if report.speed and report.speed.unfinished:
        doctor.leave(report.failed)
    sys.exit(int(report.failed))


def _print(text):
    from tcmax_jax.training.processes import is_primary

    if is_primary():
        print(text)


def _report(overrides):
    from tcmax_jax.evaluation.reports.difference import write_difference
    from tcmax_jax.evaluation.reports.write import write_report

    _check_unused(overrides, "--runs")
    out = Path(_WORKDIR.value or _MODE.value)
    if _MODE.value == "report":
        paths = write_report(_RUNS.value, out)
    elif len(_RUNS.value) == 2:
        paths = write_difference(*map(Path, _RUNS.value), out)
    else:
        raise ValueError(f"Expected two folders, --runs=A,B, got {len(_RUNS.value)}.")
    print(f"written to {', '.join(map(str, paths))}")


def _estimate(overrides):
    from tcmax_jax.estimators.command import estimate_file, estimates_table
    from tcmax_jax.estimators.config import Estimation
    from tcmax_jax.training.config.overrides import override

    if not _SAMPLES.value:
        raise ValueError(
            "Expected --samples=file.npz with --mode=estimate, got none. Write one with "
            "numpy.savez(path, a=array, b=array), one array a variable."
        )
    _check_unused({}, "--samples")
    workdir = Path(_WORKDIR.value or Path("runs") / f"estimate-{Path(_SAMPLES.value).stem}")
    results = estimate_file(_SAMPLES.value, workdir, override(Estimation(), overrides))
    print(
        estimates_table(results), f"\nwritten to {workdir}/results.json and estimates.png", sep=""
    )
