"""The folder of a run: what belongs to it, and whether it may be gone on with."""

import importlib.metadata
import json
import platform
from pathlib import Path

import jax

from tcmax_jax.data.datasets import Dataset
from tcmax_jax.training.config import Config
from tcmax_jax.training.logs import write_atomically
from tcmax_jax.training.overrides import ConfigError, differences, from_dict, to_dict

_CONFIG, _DATA = "config.json", "data.json"
# Fields that change no number: a run may go on with others, on a machine of other speed.
_FREE = (
    # Where the raw data lies and how it is decoded; what came of it is compared by `check_data`.
    "data.manifest",
    "data.raw_dir",
    "data.allow_skipped",
    "data.processes",
    "data.beam",
    "training.log_every",
    "training.threads",
    "training.workers",
    "comparison.methods",  # of other runs
    "comparison.fusions",
    "comparison.seeds",
)
_PACKAGES = ("tcmax_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def check(workdir: Path, config: Config) -> None:
    """Checks that the folder is free, or holds a run of this configuration.

    Raises:
      ConfigError: it belongs to a run of another configuration; says in what they differ.
    """
    if not (workdir / _CONFIG).exists():
        return
    lines = differences(to_dict(stored_config(workdir)), to_dict(config))
    lines = [line for line in lines if line.split(":")[0] not in _FREE]
    if lines:
        raise ConfigError(
            f"{workdir} holds a run of another configuration:\n  "
            + "\n  ".join(lines)
            + "\nChoose another --workdir, or repeat the run with its own configuration."
        )


def check_data(workdir: Path, dataset: Dataset) -> None:
    """Checks that the run in the folder, if there is one, was trained on this very data.

    Raises:
      ConfigError: the data (its name holds a digest of its settings and its list) has changed.
    """
    if not (workdir / _DATA).exists():
        return
    stored = json.loads((workdir / _DATA).read_text())
    if stored != _identity(dataset):
        raise ConfigError(
            f"{workdir} holds a run on {_describe(stored)}, and the configuration now gives "
            f"{_describe(_identity(dataset))}. Choose another --workdir, or restore the data, for "
            "instance the manifest as it was."
        )


def claim(workdir: Path, config: Config, dataset: Dataset) -> None:
    """Makes the folder this run's own: writes versions, data and configuration, once."""
    if (workdir / _CONFIG).exists():
        return
    workdir.mkdir(parents=True, exist_ok=True)
    write_atomically(workdir / _DATA, json.dumps(_identity(dataset), indent=2))
    write_atomically(workdir / "versions.json", json.dumps(_versions(), indent=2))
    write_atomically(workdir / _CONFIG, json.dumps(to_dict(config), indent=2))


def stored_config(workdir: Path) -> Config:
    """Returns the configuration of the run in a folder.

    Raises:
      ConfigError: there is no run.
    """
    path = workdir / _CONFIG
    if not path.exists():
        raise ConfigError(
            f"Expected the folder of a run, got {workdir} without a {_CONFIG}. Train first, or "
            "correct --workdir."
        )
    return from_dict(json.loads(path.read_text()))


def _identity(dataset):
    return {
        "name": dataset.name,
        "class_names": list(dataset.class_names),
        "checksum": dataset.summary.get("checksum"),
    }


def _describe(identity):
    clips = f", list {identity['checksum'][:16]}" if identity.get("checksum") else ""
    return f"the data set {identity['name']} ({len(identity['class_names'])} classes{clips})"


def _versions():
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed as a package"
    device = jax.local_devices()[0]
    return versions | {"devices": f"{jax.local_device_count()} x {device.device_kind}"}
