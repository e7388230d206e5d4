"""The environment of a run: versions, commit and devices."""

import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import jax

from tcmax_jax.cores import usable_cores
from tcmax_jax.packages import versions

_ROOT = Path(__file__).parents[2]


def commit(root: Path = _ROOT) -> str:
    """Returns the commit of the checkout that `root` is the top of, and whether files differ.

    "none" where this is no checkout (an installed package, also one below another project's
    checkout), or git is missing.
    """

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return "none"
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "none"


def describe_environment(devices: Sequence[jax.Device]) -> dict[str, str]:
    """Returns `versions`, the commit, the host, and the devices and processes of a run."""
    kinds = sorted({device.device_kind for device in devices})
    return versions() | {
        "commit": commit(),
        "host": f"{platform.system()} {platform.machine()}, {usable_cores()} CPU cores",
        "devices": f"{len(devices)} x {', '.join(kinds)}",
        "processes": str(len({device.process_index for device in devices})),
    }
