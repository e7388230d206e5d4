"""Checks of a set-up: each takes known facts and yields what is wrong and how to fix it."""

import functools
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from tcmax_jax.commands.doctor.speed import Speed
from tcmax_jax.packages import install_line
from tcmax_jax.space import nearest, size_text
from tcmax_jax.training import run_folders
from tcmax_jax.training.build import batch_problems
from tcmax_jax.training.config import Config
from tcmax_jax.training.encoders import check_weights

_LITTLE_SPACE = 5 * 10**9
_CHECKPOINTS = 3  # the two latest and the best
_MUCH_WAITING = 0.2
_READERS = {".safetensors": "safetensors", ".pth": "torch", ".pt": "torch"}


class Finding(NamedTuple):
    """A problem with the set-up.

    Attributes:
      level: error, if training would not run or would waste the machine; or warning.
      text: what is wrong, and what to do.
    """

    level: Literal["error", "warning"]
    text: str


error = functools.partial(Finding, "error")
warning = functools.partial(Finding, "warning")


def settings(config: Config, platform: str, count: int, cores: int) -> Iterator[Finding]:
    """Finds settings that do not fit the machine.

    It has `count` devices of a platform, in all processes, and CPU cores.
    """
    yield from map(error, batch_problems(config, count))
    if platform == "cpu" and config.model.dtype == "bfloat16":
        yield warning(
            "model.dtype=bfloat16 is slow on CPUs, which have no units for it. Use float32."
        )
    if config.training.workers > cores:
        yield warning(
            f"training.workers={config.training.workers} is more than the {cores} cores. Lower "
            "it, or use 0 and training.threads."
        )


def packages(
    config: Config, *, prepared: bool, find: Callable = importlib.util.find_spec
) -> Iterator[Finding]:
    """Finds files of weights, and optional packages, that the configuration needs and are missing.

    Data that is prepared needs none; `find` returns None for a package that is not installed.
    """
    try:
        check_weights(config)
    except FileNotFoundError as lost:
        yield error(f"{lost} Correct the path.")
    weights = [getattr(m.encoder, "weights", None) or "" for m in config.modalities.values()]
    suffixes = {Path(path).suffix for path in weights} & set(_READERS)
    needed = [(f"{suffix} weights", _READERS[suffix]) for suffix in suffixes]
    if not prepared and getattr(config.data, "beam", None) is not None:
        needed.append(("data.beam", "apache_beam"))
    for user, package in sorted(needed):
        if find(package) is None:
            yield error(f"Expected {package} for {user}, got none: {install_line(package)}")


def folder(option: str, path: Path) -> Iterator[Finding]:
    """Finds out whether a folder, or its nearest existing parent, is writable."""
    there = nearest(path)
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        what = "cannot be written" if there.is_dir() else "is no folder"
        yield error(
            f"Expected a --{option} that can be written, got {path}: {there} {what}. Choose "
            "another."
        )


def space(option: str, path: Path, free: int, checkpoint: int = 0) -> Iterator[Finding]:
    """Finds a disk that is full or nearly full, given its free bytes and those of a checkpoint."""
    kept = _CHECKPOINTS * checkpoint
    if free < max(_LITTLE_SPACE, 2 * kept):
        needs = f", and a run keeps {size_text(kept)} of checkpoints" if kept else ""
        yield Finding(
            "error" if free < kept else "warning",
            f"Only {size_text(free)} are free at {path}{needs}. Free some, or choose another "
            f"--{option}.",
        )


def run_folder(workdir: Path, config: Config) -> Iterator[Finding]:
    """Finds what prevents a run from starting or resuming in its folder."""
    try:
        run_folders.check(workdir, config)
    except (ValueError, OSError) as reason:
        yield error(str(reason))
    if owner := run_folders.owner(workdir):
        yield error(
            f"A run is using {workdir} ({owner}). Wait for its end, stop it, or choose "
            "another --workdir."
        )
    aside = workdir / "damaged-checkpoints"
    if aside.is_dir() and (number := sum(1 for _ in aside.iterdir())):
        yield warning(
            f"{number} damaged checkpoints of this run are in {aside}; training resumed from "
            "earlier ones. Check the disk, then delete that folder."
        )


def incomplete(summary: Mapping, allowed: bool) -> Iterator[Finding]:
    """Finds prepared data without some clips, which training refuses unless that is allowed.

    The summary is that of a `tcmax_jax.data.datasets.Dataset`.
    """
    if not allowed and (skipped := summary.get("skipped")):
        yield error(
            f"The prepared data lacks {len(skipped)} clips, the first: {skipped[0]['message']}. "
            "Pass --allow_skipped to train without them; or complete the raw data, delete the "
            "prepared folder and prepare it again."
        )


def speed(measured: Speed) -> Iterator[Finding]:
    """Finds devices that are too slow, and an input pipeline that is slower than training."""
    if not measured.timed:
        yield warning(
            "Steps take so long that at most one ended within the test. Use a GPU or a TPU, a "
            "smaller training.batch_size, or smaller encoders."
        )
    elif (measured.input_wait or 0) > _MUCH_WAITING:
        yield warning(
            f"Training waits for data {measured.input_wait:.0%} of the time. Raise "
            "training.threads, then training.workers (at most the number of cores), or put "
            "--data_dir on a faster disk."
        )
