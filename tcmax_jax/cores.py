"""The number of CPU cores that this process may use."""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


def usable_cores(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Returns the number of cores that this process may use, at least 1.

    It is the smallest of what the scheduler of the system allows (`taskset`, cpusets), what a SLURM
    job has, and the quota of the control groups that the process is in (containers), rounded up.

    Args:
      environ: the environment.
      root: folder that holds `proc` and `sys`.
    """
    # Not on every system: elsewhere nothing keeps a process from any core.
    allowed = getattr(os, "sched_getaffinity", None)
    machine = len(allowed(0)) if allowed else os.cpu_count() or 1
    return max(1, min([machine, *_of_slurm(environ), *_quotas(root)]))


def _of_slurm(environ) -> list[int]:
    # The share of a task is there if the job asked for one; without, its tasks share the job's.
    given = (environ.get(f"SLURM_CPUS_{of}", "") for of in ("PER_TASK", "ON_NODE"))
    return [int(number) for number in given if number.isdecimal()][:1]


def _quotas(root) -> Iterator[int]:
    """Yields the quotas of the process's control groups and all above them, in cores."""
    mounted = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # Version 2.
            for folder in _upwards(mounted, path):
                yield from _cores(_text(folder / "cpu.max"))
        elif "cpu" in controllers.split(","):
            for folder in _upwards(mounted / "cpu", path):
                quota, period = (_text(folder / f"cpu.cfs_{x}_us") for x in ("quota", "period"))
                yield from _cores(f"{quota} {period}")


def _upwards(mounted, path) -> list[Path]:
    """Returns the folder of a group and those above it.

    In a container the path may be that of the host: then only the last one is there.
    """
    folder = mounted / path.lstrip("/")
    return [folder, *(each for each in folder.parents if each.is_relative_to(mounted))]


def _cores(limit) -> Iterator[int]:
    """Yields the cores of the text `quota period`, in microseconds; none without a limit."""
    match limit.split():
        case [quota, period] if quota.isdecimal() and period.isdecimal() and int(period):
            yield math.ceil(int(quota) / int(period))


def _text(path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
