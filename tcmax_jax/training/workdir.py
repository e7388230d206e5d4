"""The folder of a run: what belongs to it, and whether it may be gone on with."""

import importlib.metadata
import json
import platform
from pathlib import Path

import jax

from tcmax_jax.training.config import Config
from tcmax_jax.training.logs import write_atomically
from tcmax_jax.training.overrides import ConfigError, differences, from_dict, to_dict

_CONFIG = "config.json"
_PACKAGES = ("tcmax_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def check(workdir: Path, config: Config) -> None:
    """Checks that the folder is free, or holds a run of this configuration.

    Raises:
      ConfigError: it belongs to a run of another configuration; says in what they differ.
    """
    if not (workdir / _CONFIG).exists():
        return
    lines = differences(to_dict(stored_config(workdir)), to_dict(config))
    if lines:
        raise ConfigError(
            f"{workdir} holds a run of another configuration:\n  "
            + "\n  ".join(lines)
            + "\nChoose another --workdir, or repeat the run with its own configuration."
        )


def claim(workdir: Path, config: Config) -> None:
    """Makes the folder this configuration's own: writes config.json and versions.json once."""
    if (workdir / _CONFIG).exists():
        return
    workdir.mkdir(parents=True, exist_ok=True)
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


def _versions():
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed as a package"
    device = jax.local_devices()[0]
    return versions | {"devices": f"{jax.local_device_count()} x {device.device_kind}"}
