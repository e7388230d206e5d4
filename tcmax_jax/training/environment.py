"""What a run depends on beside its configuration: versions and devices."""

import importlib.metadata
import platform
from collections.abc import Sequence

import jax

PACKAGES = ("tcmax_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def versions() -> dict[str, str]:
    """Returns {"python" or package: version}."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def describe_environment(devices: Sequence[jax.Device]) -> dict[str, str]:
    """Returns `versions`, and the devices and processes of a run."""
    kinds = sorted({device.device_kind for device in devices})
    return versions() | {
        "devices": f"{len(devices)} x {', '.join(kinds)}",
        "processes": str(len({device.process_index for device in devices})),
    }
