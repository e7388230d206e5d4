"""Gathers the facts of a set-up (devices, versions, data, speed) and runs the checks on them."""

import functools
import multiprocessing
import os
import shutil
import sys
import textwrap
import time
from pathlib import Path
from typing import NamedTuple

import jax

from tcmax_jax.commands.doctor import checks, machine
from tcmax_jax.commands.doctor.checks import Finding, error, warning
from tcmax_jax.commands.doctor.speed import Speed, measure_speed
from tcmax_jax.commands.modes import Options, Outcome
from tcmax_jax.commands.recipe import data_folder, recipe_of, run_folder
from tcmax_jax.commands.stand_in import SOME_CLASSES, UnknownShapeError, stand_in
from tcmax_jax.cores import usable_cores
from tcmax_jax.data.clips import Listing
from tcmax_jax.data.datasets import open_dataset
from tcmax_jax.data.in_place import is_in_place
from tcmax_jax.data.limits import MediaError
from tcmax_jax.data.preparation.checks import from_files, resolved
from tcmax_jax.data.preparation.prepare import folder_of
from tcmax_jax.data.prepared import is_prepared
from tcmax_jax.data.sources import Source
from tcmax_jax.packages import install_line
from tcmax_jax.space import nearest, size_text
from tcmax_jax.training import passes, run_folders
from tcmax_jax.training.build import assemble, batch_problems, with_forms
from tcmax_jax.training.config import Config
from tcmax_jax.training.environment import versions
from tcmax_jax.training.parallel import KINDS
from tcmax_jax.training.processes import is_primary, say
from tcmax_jax.user_text import printable

# Seconds for the test of the speed: compiling for an accelerator may take minutes, steps do not.
_LIMIT_ON_CPU, _LIMIT = 60.0, 300.0
_TITLE, _WIDTH = 12, 80  # columns


class Report(NamedTuple):
    """The facts and findings of an examination.

    Attributes:
      sections: {title: lines}.
      speed: what the test of the speed has found; None if there was none.
      findings: what is wrong.
    """

    sections: dict[str, list[str]]
    speed: Speed | None
    findings: list[Finding]

    @property
    def failed(self) -> bool:
        """Whether one of the findings is an error."""
        return any(finding.level == "error" for finding in self.findings)


def doctor(options: Options) -> Outcome:
    """Examines a recipe, its data and this machine."""
    config = recipe_of(options)
    report = examine(config, run_folder(options, config), data_folder(options))
    text, code = report_text(report), int(report.failed)
    if report.speed and report.speed.unfinished:
        # The usual end of a process would wait for the step that is running, or crash.
        if is_primary():
            print(printable(text))
        for worker in multiprocessing.active_children():
            worker.terminate()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return Outcome(text, code)


def examine(config: Config, workdir: Path, data_dir: str) -> Report:
    """Examines everything that a run of the configuration needs; writes nothing.

    Arguments as of `tcmax_jax.training.loop.train`.
    """
    data, memory = Path(data_dir), machine.gpu_memory()  # before JAX takes its share
    devices, findings = machine.find_devices()
    cores, platform = usable_cores(), devices[0].platform
    findings += machine.unused_accelerator(
        platform, machine.accelerators(memory, os.environ), os.environ
    )
    findings += machine.taken_gpus(memory, os.environ.get("CUDA_VISIBLE_DEVICES"))
    findings += machine.fake_devices(os.environ, cores)
    findings += checks.settings(config, platform, len(devices), cores)
    config, folder, num_classes, lines, of_data = _look_for_data(config, data_dir)
    findings += of_data
    findings += checks.packages(config, prepared=folder is not None)
    findings += checks.run_folder(workdir, config)
    findings += checks.folder("workdir", workdir)
    if folder is None:
        findings += checks.folder("data_dir", data)
        findings += checks.space("data_dir", data, _free(data))
    limit = _LIMIT_ON_CPU if platform == "cpu" else _LIMIT
    trial, of_trial, size, speed = _try(config, workdir, folder, num_classes, limit)
    findings += of_trial
    findings += checks.space("workdir", workdir, _free(workdir), size)
    sections = {
        "devices": machine.describe_devices(devices, cores),
        "versions": [", ".join(f"{name} {number}" for name, number in versions().items())],
        "experiment": [
            f"{config.name}: {config.method.label()} with the head {config.model.fusion.label()}, "
            f"batches of {config.training.batch_size}, in {workdir}"
        ],
        "data": [*_describe_prepared(data), *lines],
        "speed": trial,
    }
    return Report(sections, speed, findings)


def try_clip(config: Config, listing: Listing) -> tuple[list[str], list[Finding]]:
    """Decodes the first clip that a configuration lists in each of its stored forms.

    Returns:
      (what was decoded, a line for each modality; what is wrong).
    """
    lines, findings = [], []
    missing = {"train", "validation"} - {clip.split for clip in listing.clips}
    if missing:
        text = f"No clip has the split {' or '.join(sorted(missing))}. Preparation refuses that."
        findings.append(error(text))
    if not listing.clips:
        return lines, findings
    clip = listing.clips[0]
    for modality, form in config.data.forms.items():
        file, begin = form.file(clip.of(modality)), time.monotonic()
        try:
            if file is None:
                raise MediaError(
                    "no file", f"{clip.place}: Expected a file for {modality}, got none."
                )
            value = form.read(clip.of(modality)).value
        except MediaError as broken:
            findings.append(error(f"The first clip cannot be decoded: {broken}"))
        except ModuleNotFoundError as lacking:
            text = f"Clips cannot be decoded without {lacking.name}: {install_line(lacking.name)}"
            findings.append(error(text))
        else:
            seconds = time.monotonic() - begin
            shape = " x ".join(map(str, form.shape))
            size = f"{sum(map(len, value))} bytes" if form.encoded else str(value.dtype)
            lines.append(f"{modality} of {file}: {shape}, {size}, {1000 * seconds:.0f} ms")
    return lines, findings


def report_text(report: Report) -> str:
    """Returns the report as text for the terminal."""
    lines, indent = [], " " * _TITLE
    for title, section in report.sections.items():
        lines += _wrapped(section, f"{title:<{_TITLE}}", indent)
    lines.append("")
    for finding in sorted(report.findings, key=lambda finding: finding.level):  # errors first
        lines += _wrapped(f"{finding.level}: {finding.text}".splitlines(), "", "  ")
    return "\n".join(lines if report.findings else [*lines, "Nothing is wrong."])


def describe_speed(speed: Speed, batch_size: int) -> list[str]:
    """Returns lines about the speed of a step."""
    if speed.first_step is None:
        lines = ["the first step, compilation included, did not end in time"]
    else:
        lines = [f"{speed.first_step:.1f} s for the first step, compilation included"]
    if speed.timed:
        rate = batch_size / speed.seconds
        step = f"{1000 * speed.seconds:.1f} ms a step (median of {speed.timed}), "
        step += f"{rate:.{0 if rate >= 10 else 1}f} examples/s"
        if speed.input_wait is not None:
            step += f", {speed.input_wait:.0%} of the time waiting for data"
        lines.append(step)
    memory = (f"{mib:.0f} MiB ({name.split('_')[0]})" for name, mib in speed.memory.items())
    return [*lines, f"peak memory: {', '.join(memory)}"]


def _wrapped(paragraphs, first, indent):
    """Wraps to `_WIDTH` columns, `first` before line 1, `indent` before the rest; paths whole."""
    wrap = functools.partial(
        textwrap.wrap,
        width=_WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    begins = [first, *[indent] * (len(paragraphs) - 1)]
    pairs = zip(begins, paragraphs, strict=False)
    return [line for begin, text in pairs for line in wrap(text, initial_indent=begin)]


def _look_for_data(config: Config, data_dir: str):
    """Returns (configuration, folder of prepared data or None, classes, lines, findings).

    The configuration has what the files of the data say of its stored forms.
    """
    classes, opened = config.data.known_classes or SOME_CLASSES, None
    try:
        if (opened := config.data.open()) is not None:
            config, classes = with_forms(config, opened.forms), len(opened.class_names)
            sizes = ", ".join(f"{len(x)} of {split}" for split, x in opened.sources.items())
            return config, None, classes, [f"this experiment: {sizes}, read as they are"], []
        folder = folder_of(config.data, data_dir)
        if is_prepared(folder):
            return config, folder, classes, [f"this experiment: prepared in {folder}"], []
        listing = config.data.list_clips()
        if listing is None:
            text = "this experiment: not prepared; training generates it within seconds"
            return config, None, classes, [text], []
        classes = len(listing.class_names)
        config = with_forms(config, from_files(resolved(config.data, listing)))
        lines, findings = try_clip(config, listing)
    except (ValueError, OSError) as reason:
        lines = ["this experiment: not prepared, and its raw data is missing"]
        failed = error(f"The data is not prepared, nor can it be: {reason}")
        return config, None, classes, lines, [failed]
    if is_in_place(config.data):
        text = f"this experiment: arrays of {len(listing.clips)} examples, read in place"
        return config, None, classes, [text, *lines], findings
    text = (
        f"this experiment: not prepared; its raw data lists {len(listing.clips)} clips in "
        f"{classes} classes"
    )
    unprepared = warning(
        "The data is not prepared. Training does so first; or run the same command with "
        "--mode=prepare."
    )
    return config, None, classes, [text, *lines], [unprepared, *findings]


def _try(config: Config, workdir: Path, folder: Path | None, num_classes: int, limit: float):
    """Takes some steps of training, on generated examples where the data is not prepared.

    Returns:
      (lines, findings, bytes of a checkpoint, `Speed` or None).
    """
    parallel = KINDS[config.training.parallel](None)
    if batch_problems(config, len(parallel.devices)):
        return ["not measured: the devices cannot share a batch"], [], 0, None
    size, findings = 0, []
    try:
        if folder is None:
            dataset = stand_in(config, num_classes)
        else:
            dataset = open_dataset(folder, tuple(config.modalities))
            allowed = getattr(config.data, "allow_skipped", False)
            findings += checks.incomplete(dataset.summary, allowed)
            run_folders.check_data(workdir, dataset)
        setup = assemble(config, dataset, parallel)
        passes.check_shared_memory(setup)
        say("Compiling, and timing a few steps ...")
        state = passes.initial_state(setup)
        size = sum(array.nbytes for array in jax.tree.leaves(state))
        speed = measure_speed(setup, state, repeat=folder is None, limit=limit)
    except UnknownShapeError as unknown:
        return [f"not measured: {unknown}"], [], 0, None
    except (ValueError, OSError, ArithmeticError, RuntimeError) as reason:
        return ["not measured: see below"], [*findings, _failure(reason)], size, None
    lines = describe_speed(speed, config.training.batch_size)
    if folder is None:
        lines.append("on generated examples, and so without the time of reading and decoding")
    return lines, [*findings, *checks.speed(speed)], size, speed


def _failure(reason: Exception) -> Finding:
    text = str(reason)
    if "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower():
        text = (
            f"The devices have not enough memory for a step ({text.splitlines()[0][:200]}). Raise "
            "training.accumulate, lower training.batch_size, or set model.dtype=bfloat16."
        )
    return error(text or type(reason).__name__)


def _describe_prepared(data_dir: Path) -> list[str]:
    lines = []
    for info in sorted(data_dir.glob("*/*/*/dataset_info.json")):
        if info.relative_to(data_dir).parts[0] in Source.members():
            size = sum(file.stat().st_size for file in info.parent.rglob("*") if file.is_file())
            lines.append(f"{info.parent}: {size_text(size)}")
    return lines or [f"{data_dir}: nothing prepared"]


def _free(path: Path) -> int:
    return shutil.disk_usage(nearest(path)).free
