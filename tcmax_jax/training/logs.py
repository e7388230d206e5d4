"""Logs of a run: a progress bar or plain lines, JSON lines, TensorBoard events.

TensorBoard shows a run on three tabs: curves (SCALARS), the configuration (TEXT), and its fields
beside the final metrics (HPARAMS), where runs are compared.
"""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams
from tqdm import tqdm

from tcmax_jax import digests
from tcmax_jax.evaluation.quantities import Name, number, ordered, read_name, title, write_name
from tcmax_jax.files import json_text, parse_json
from tcmax_jax.run_folder import RunFolder
from tcmax_jax.space import named
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.listing import fields_of
from tcmax_jax.training.config.tree import to_dict
from tcmax_jax.training.events import EventFile
from tcmax_jax.training.processes import is_primary
from tcmax_jax.user_text import columns, printable, visible

_LINES_UNDER_TITLES = 20
_HPARAMS = "hparams"  # folder of the events behind that page


def open_log(workdir: Path, config: Config, *, first_step: int, total_steps: int):
    """Returns the log of a run, which the first process alone writes; a context manager."""
    if is_primary():
        return RunLog(workdir, config, first_step=first_step, total_steps=total_steps)
    return _Silence()


def write_final_metrics(workdir: Path, config: Config, splits: Mapping) -> None:
    """Replaces the final metrics on TensorBoard's tab HPARAMS.

    Args:
      workdir: folder of the run.
      config: its configuration.
      splits: {split: {metric: float}} of its final evaluation.
    """
    for old in (workdir / _HPARAMS).glob("events.out.tfevents.*"):
        old.unlink()
    fields = {
        field.path: field.value
        if isinstance(field.value, bool | int | float | str)
        else json.dumps(field.value)
        for field in fields_of(config)
        if field.path.split(".")[0] not in ("comparison", "study")  # of other runs
    }
    metrics = {f"final/{s}/{name}": v for s, values in splits.items() for name, v in values.items()}
    with SummaryWriter(str(workdir / _HPARAMS)) as events:
        for summary in hparams(fields, metrics):
            events.file_writer.add_summary(summary)
        for name, value in metrics.items():
            events.add_scalar(name, value)


class RunLog:
    """The log of a run; a context manager.

    `metrics.jsonl` holds an object for each entry: "step", "epoch", "split" and the metrics. An
    entry outlives the process at once, and the machine after `keep`.
    """

    def __init__(self, workdir: Path, config: Config, *, first_step: int, total_steps: int):
        """Opens the log; entries after `first_step`, from an interrupted run, are dropped."""
        self._path = RunFolder(workdir).log
        kept, gap = _kept(self._path, first_step)
        digests.write(self._path, "".join(kept))
        self._file = self._path.open("a")
        self._events = EventFile(workdir, first_step=first_step)
        if not first_step:
            text = json_text(to_dict(config))
            self._events.text("configuration", f"```json\n{text}\n```")
        # disable=None leaves the bar out where standard error is no terminal.
        self._bar = tqdm(
            total=total_steps, initial=first_step, unit="step", file=sys.stderr, disable=None
        )
        self._progress, self._validations = {}, 0
        if gap:
            self.say(f"warning: {gap}")
        if first_step:
            self.say(f"resuming after step {first_step} of {total_steps}")

    def __enter__(self):
        """Returns itself."""
        return self

    def __exit__(self, *exception):
        """Closes the bar and the files."""
        self._bar.close()
        self._events.close()
        self._file.close()

    def metrics(self, step: int, epoch: int, split: str, values: dict) -> None:
        """Records metrics of a split, {name: float}, after a step."""
        entry = {"step": step, "epoch": epoch, "split": split, **values}
        with named(self._path):
            self._file.write(json_text(entry, indent=None) + "\n")
            self._file.flush()
            self._events.scalars({f"{split}/{name}": value for name, value in values.items()}, step)

    def keep(self) -> None:
        """Waits until all entries are on disk: a checkpoint must not be ahead of them."""
        for file in (self._file, self._events):
            os.fsync(file.fileno())
        digests.remember(self._path.parent, [self._path.name])

    def progress(self, step: int, values: dict, epoch: int) -> None:
        """Moves the bar to a step, with the training metrics beside it."""
        self._progress = values
        shown = {
            "epoch": epoch,
            "loss": number(Name("loss"), values["loss"], short=True),
            "examples/s": f"{values['examples_per_second']:.0f}",
            "wait": f"{values['input_wait']:.0%}",
        }
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(step - self._bar.n)

    def validation(self, step: int, epoch: int, epochs: int, values: dict) -> None:
        """Prints a line with the progress and the validation metrics, sometimes with titles."""
        names = ordered(map(read_name, values), "epoch")
        progress = self._progress
        cells = {
            "epoch": (f"{epoch}/{epochs}", 2 * len(str(epochs)) + 1),
            "step": (f"{step}", 0),
            "loss": (number(Name("loss"), progress["loss"], short=True), 7),
            "examples/s": (f"{progress['examples_per_second']:.0f}", 0),
            "wait": (f"{progress['input_wait']:.0%}", 0),
        }
        for name in names:
            text = number(name, values[write_name(name)], short=True)
            cells[visible(name.of or title(name, short=True, unit=False))] = (text, 5)
        widths = {name: max(columns(name), least, 5) for name, (_, least) in cells.items()}
        if self._validations % _LINES_UNDER_TITLES == 0:
            padded = (" " * (width - columns(name)) + name for name, width in widths.items())
            self.say("  ".join(padded))
        self._validations += 1
        self.say("  ".join(f"{cells[name][0]:>{width}}" for name, width in widths.items()))

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        tqdm.write(printable(text), file=sys.stderr)


class _Silence(contextlib.nullcontext):
    """The log of all processes but the first."""

    def __enter__(self):
        return self

    def metrics(self, *_) -> None:
        pass

    progress = validation = say = keep = metrics


def _kept(path: Path, step: int) -> tuple[list[str], str | None]:
    """Returns the lines of a log up to a step, and a message if some are missing."""
    if not step:
        return [], None  # Of a run without a checkpoint nothing is gone on with.
    text = path.read_bytes().decode(errors="replace") if path.is_file() else ""
    steps = [(line, _step(line)) for line in text.splitlines(keepends=True)]
    kept = [(line, at) for line, at in steps if at is not None and at <= step]
    lines, last = [line for line, _ in kept], max((at for _, at in kept), default=0)
    fault = digests.fault(path)
    # Windows of the log end where checkpoints lie.
    if fault is None and last == step:
        return lines, None
    got = fault or f"entries up to step {last}"
    return lines, (
        f"Expected the entries of the run up to step {step}, its last checkpoint, in {path}, got "
        f"{got}. The run continues without the lost ones; its numbers are the same."
    )


def _step(line: str) -> int | None:
    """Returns the step of an entry, None for a truncated or damaged line."""
    try:
        return parse_json(line)["step"] if line.endswith("\n") else None
    except (ValueError, TypeError, KeyError):
        return None
