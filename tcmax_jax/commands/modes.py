"""The table of modes: what each one does, the flags that it reads, the function that it calls.

Worker processes import this module, so it imports those functions only when they run.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from tcmax_jax.files import local


class Mode(NamedTuple):
    """One mode of the command.

    Attributes:
      help: what it does.
      function: "module:function" of `tcmax_jax.commands`, a function `Options` -> `Outcome`.
      reads: names of the flags that it reads, beside those that every mode reads.
      needs: names of those without which it cannot run.
      fields: whether it takes fields of a configuration, --config.<field>=<value>.
    """

    help: str
    function: str
    reads: tuple[str, ...]
    needs: tuple[str, ...] = ()
    fields: bool = True

    def load(self) -> Callable:
        """Imports and returns the function."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(f"tcmax_jax.commands.{module}"), name)


class Options(NamedTuple):
    """The flags of a mode, as attributes.

    Attributes:
      mode: name of the mode.
      flags: {name: value} of the flags that the mode reads.
      fields: {path: text} of the fields of the configuration that are changed.
    """

    mode: str
    flags: dict[str, Any]
    fields: dict[str, str]

    def __getattr__(self, name: str):
        """Returns the value of a flag."""
        try:
            return self.flags[name]
        except KeyError:
            raise AttributeError(name) from None


class Outcome(NamedTuple):
    """The result of a mode: text to print, exit status.

    Attributes:
      text: what to print.
      code: exit status of the process.
    """

    text: str
    code: int = 0


_RECIPE = ("experiment", "raw_dir", "allow_skipped")
_RUN = (*_RECIPE, "workdir", "data_dir")
_EVALUATED = (*_RUN, "drop_modality", "step")

_PATHS = {"workdir", "data_dir", "raw_dir", "clips", "predictions", "export", "runs", "samples"}

DEFAULT = "train"
MODES = {
    "train": Mode(
        "Train (preparing the data first if needed), or resume an interrupted run; then "
        "evaluate the best checkpoint.",
        "train:train",
        _RUN,
    ),
    "prepare": Mode(
        "Decode the clips of a data set, or generate the built-in one, for training.",
        "train:prepare",
        _RUN,
    ),
    "evaluate": Mode(
        "Evaluate the best checkpoint of the run in --workdir again.", "train:evaluate", _EVALUATED
    ),
    "probe": Mode(
        "Evaluate with a linear probe on the features of each frozen encoder.",
        "train:evaluate",
        _EVALUATED,
    ),
    "analyse": Mode(
        "Recompute analysis.json from the stored outputs of an evaluation, without data or model.",
        "report:analyse",
        ("workdir", "total_correlation"),
        ("workdir",),
        fields=False,
    ),
    "predict": Mode(
        "Predict the clips in --clips with the best checkpoint of a run, from its folder alone.",
        "predict:predict",
        ("workdir", "experiment", "clips", "predictions", "allow_skipped", "recalibrated"),
        ("workdir", "clips", "predictions"),
    ),
    "export": Mode(
        "Write the classifier of the best checkpoint for use without this package.",
        "export:export",
        ("workdir", "experiment", "export", "recalibrated"),
        ("workdir", "export"),
    ),
    "compare": Mode(
        "Train the methods, fusions and seeds of the recipe's section `comparison`, each run once, "
        "and tabulate them. Exits with 1 if a run failed.",
        "compare:compare",
        _RUN,
    ),
    "study": Mode(
        "Run a comparison for each value of the field that the section `study` names.",
        "study:study",
        _RUN,
    ),
    "report": Mode(
        "Write a report with tables and figures on finished runs, comparisons and studies.",
        "report:report",
        ("workdir", "runs"),
        fields=False,
    ),
    "difference": Mode(
        "Write a report on the differences between two runs, or two checkpoints of one.",
        "report:difference",
        ("workdir", "runs"),
        fields=False,
    ),
    "estimate": Mode(
        "Estimate the total correlation of the arrays in --samples. The fields are those of "
        "tcmax_jax.commands.estimate.Estimation.",
        "estimate:estimate",
        ("workdir", "samples"),
        ("samples",),
    ),
    "config": Mode(
        "List every field of the configuration in effect, with type, default and meaning: of a "
        "recipe, or of the run in --workdir.",
        "recipe:describe",
        _RUN,
    ),
    "doctor": Mode(
        "Check devices, versions, data, media files and speed, and report problems and "
        "how to solve them.",
        "doctor.examine:doctor",
        _RUN,
    ),
    "plan": Mode(
        "Compile the steps of a recipe for a TPU slice, on this CPU and without data, and report "
        "the compiler's memory, FLOPs, bytes, exchanges between chips, and the largest batch.",
        "plan.plan:plan",
        (*_RUN, "topology"),
        ("topology",),
    ),
}


def modes_reading(flag: str) -> list[str]:
    """Returns the names of the modes that read a flag; none for a flag of every mode."""
    return [name for name, mode in MODES.items() if flag in mode.reads]


def check_flags(mode: str, given: dict[str, Any], fields: dict[str, str]) -> None:
    """Checks that a mode reads every given flag, and that it has every flag it needs.

    Args:
      mode: name of the mode.
      given: {name: value} of the flags of the command line that have a value.
      fields: {path: text} of the fields of the configuration that are changed.

    Raises:
      ValueError: names a flag that other modes read, one that is missing, or one of a path that is
        no path of this machine.
    """
    for name in given:
        readers = modes_reading(name)
        if readers and mode not in readers:
            raise ValueError(
                f"Expected no --{name} with --mode={mode}, which does not read it; it is for "
                f"--mode={', '.join(readers)}."
            )
    for name in _PATHS & given.keys():
        for path in given[name] if isinstance(given[name], list) else [given[name]]:
            try:
                local(path)
            except ValueError as error:
                raise ValueError(f"--{name}: {error}") from error
    if fields and not MODES[mode].fields:
        raise ValueError(
            f"Expected no --config.{next(iter(fields))} with --mode={mode}, which reads finished "
            "runs and no configuration."
        )
    for name in MODES[mode].needs:
        if name not in given:
            value = "PATH" if name in _PATHS else "NAME"
            raise ValueError(f"Expected --{name}={value} with --mode={mode}, got none.")
