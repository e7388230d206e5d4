"""The command line: reads the flags and calls one function of `tcmax_jax.commands`.

Run it as `python launch.py` in a checkout, or as `tcmax_jax` or `python -m tcmax_jax` where the
package is installed.
"""

import os
import sys

from absl import app, flags, logging

# Only light modules up here: decoding processes import the main module again.
from tcmax_jax import __version__
from tcmax_jax.commands.help import help_text
from tcmax_jax.commands.modes import DEFAULT, MODES, Options, check_flags, modes_reading
from tcmax_jax.packages import install_line
from tcmax_jax.user_text import printable

_MODE = flags.DEFINE_enum("mode", DEFAULT, list(MODES), "What to do.")
_FLAGS = {
    "experiment": "The recipe: the name of one of this project (crema_d), or the path of a Python "
    "file. Default: the built-in synthetic set.",
    "workdir": "Folder of the run. Default: runs/<experiment>-<method>-seed<seed>; "
    "for the modes compare and study runs/<experiment>-compare and -study; for report and "
    "difference report and difference; for plan none.",
    "data_dir": "Folder of prepared data. Default: $TFDS_DATA_DIR or ~/tensorflow_datasets.",
    "raw_dir": "Folder of a data set as published; short for --config.data.raw_dir.",
    "allow_skipped": "Leave out clips that cannot be decoded, and list them, instead of stopping "
    "at the first; short for --config.data.allow_skipped=true.",
    "clips": "A CSV file of new clips: the column id and, as needed, path, audio_path, start and "
    "end. If it has a column label, the accuracy is printed.",
    "predictions": "The CSV file to write, with a row for each clip.",
    "export": "The folder to write.",
    "recalibrated": "Predict, or export, with the weights of modalities and the offsets of classes "
    "that were fitted on validation.",
    "drop_modality": "Also evaluate without these modalities (a,b), all of them dropped at once.",
    "step": "Evaluate the checkpoint after this many steps instead of the best one; its results "
    "are written to steps/<step> in the run's folder.",
    "total_correlation": "Also estimate the total correlation of features and label, and its "
    "parts (a minute or more).",
    "runs": "For a report: folders of finished runs, comparisons or studies "
    "(runs/a,runs/b,more/*), runs on one data set. For a difference: two folders of runs, or of "
    "their checkpoints as --step evaluates them (runs/a,runs/a/steps/800).",
    "samples": "An .npz file with one array per variable, where row i of each belongs to example "
    "i; integers of rank 1 are labels. numpy.savez(path, a=array, b=array) writes one.",
    "topology": "A TPU slice: the kind of chip, and the number along each dimension (v5e:4x4, "
    "v6e:8x8, v4:2x2x4, v5p:2x4x4).",
    "distributed": "This is one of several processes, as the environment describes (TPU pod, "
    "SLURM, Open MPI, Kubernetes). Each process runs the same command.",
    "coordinator": "HOST:PORT of the first of several processes, if the environment does not "
    "describe them; with --num_processes and --process_id.",
    "num_processes": "With --coordinator: the number of processes.",
    "process_id": "With --coordinator: the number of this process, from 0.",
    "compilation_cache": "Folder that keeps compiled programs for later starts. Default: "
    "compiled/ in the data folder on GPU and TPU, none on CPU.",
}
_BOOLS = {"allow_skipped", "recalibrated", "total_correlation", "distributed"}
_LISTS = {"drop_modality", "runs"}
_INTEGERS = {"step", "num_processes", "process_id"}
for _name, _help in _FLAGS.items():
    if _name in _BOOLS:
        flags.DEFINE_bool(_name, False, _help)
    elif _name in _LISTS:
        flags.DEFINE_list(_name, [], _help)
    else:
        _define = flags.DEFINE_integer if _name in _INTEGERS else flags.DEFINE_string
        _define(_name, None, _help)
_PREFIX = "--config."
_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells say
EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: the same command resumes.


def run():
    """Runs the command line of this process."""
    overrides, rest = split_overrides(sys.argv)
    asked = set(rest[1:])
    if asked & {"--version", "-version"}:
        print(f"tcmax_jax {__version__}")
    elif asked & {"--help", "-help", "-h", "help"}:
        modes = [a.partition("=")[2] for a in asked if a.startswith("--mode=")]
        print(help_text(_own_flags(), modes[0] if modes and modes[0] in MODES else None))
    else:
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
    """Runs one mode; errors in user input end it with their message alone.

    With `--verbosity=1` they come with their traceback. A run that SIGTERM stops saves first, and
    exits with EXIT_PREEMPTED.

    Args:
      argv: what is left of the command line after the flags.
      overrides: {path: value} of configuration fields.
    """
    if argv[1:]:
        sys.exit(f"Expected flags only (--name=value), got {argv[1]!r}. See --help.")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    try:
        outcome = _run_mode(_MODE.value, overrides)
    except KeyboardInterrupt:
        if logging.level_debug():
            raise
        print("Stopped (Ctrl-C). Run the same command again to continue.", file=sys.stderr)
        sys.exit(_EXIT_INTERRUPTED)
    except ModuleNotFoundError as error:
        if logging.level_debug() or (error.name or "").startswith("tcmax_jax"):
            raise
        sys.exit(
            f"error: --mode={_MODE.value} needs the package {error.name}, which is not installed. "
            f"Run {install_line(error.name)}, in a checkout with . in place of tcmax_jax."
        )
    except (ValueError, OSError, ArithmeticError) as error:
        if logging.level_debug():
            raise
        sys.exit(printable(f"error: {error}\n(--verbosity=1 shows where)"))
    sys.exit(outcome.code or None)


def _run_mode(mode, overrides):
    """Runs a mode and prints its result, in the first of several processes."""
    from tcmax_jax.data.memory import keep_freed_memory
    from tcmax_jax.training.preemption import PreemptedError, stopping

    # A step of 0 is given, although it equals False.
    values = {flag.name: flag.value for flag in _own_flags()}
    given = {n: x for n, x in values.items() if x is not False and x not in (None, [], "")}
    check_flags(mode, given, overrides)
    joined = _set_up_jax()
    keep_freed_memory()
    options = Options(mode, {n: flags.FLAGS[n].value for n in MODES[mode].reads}, overrides)
    try:
        with stopping():
            outcome = MODES[mode].load()(options)
    except PreemptedError as stop:
        print(printable(str(stop)), file=sys.stderr)
        sys.exit(EXIT_PREEMPTED)
    if not joined or joined.is_primary():
        print(printable(outcome.text))
    return outcome


def _own_flags():
    """Returns the flags of this module except --mode, those of single modes first."""
    ours = [f for f in flags.FLAGS.get_flags_for_module(__name__) if f.name != "mode"]
    return sorted(ours, key=lambda flag: not modes_reading(flag.name))


def _set_up_jax():
    """Joins the other processes; returns `tcmax_jax.training.processes`, None if there are none."""
    _pin_precision()
    asked = flags.FLAGS
    which = (asked.coordinator, asked.num_processes, asked.process_id)
    if asked.compilation_cache:
        import jax

        jax.config.update("jax_compilation_cache_dir", asked.compilation_cache)
    if not asked.distributed and which == (None, None, None):
        return None
    from tcmax_jax.training import processes

    processes.join(*which)
    return processes


def _pin_precision():
    """Sets JAX to 32 bits, since a run cannot be resumed or evaluated in another precision."""
    if os.environ.get("JAX_ENABLE_X64", "").lower() in ("", "0", "n", "no", "off", "f", "false"):
        return
    os.environ["JAX_ENABLE_X64"] = "0"  # which is read when JAX is imported, and goes to children
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", False)
    text = "note: runs have numbers of 32 bits; JAX_ENABLE_X64 is left out"
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run()
