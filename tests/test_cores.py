"""The cores that a process may use, with made-up limits of the system, of SLURM and of groups."""

import os
from pathlib import Path

import pytest

from tcmax_jax.cores import usable_cores

HERE = "/jobs/mine"


@pytest.fixture(autouse=True)
def _eight_of_many_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def part_of(repository):
    return sorted((Path(__file__).parents[1] / repository).rglob("*.py"))


def system(root, groups, files):
    """Returns a folder with the control groups of a process and the files of the groups."""
    for path, text in {"proc/self/cgroup": groups, **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def test_cores_that_the_scheduler_withholds_do_not_count(tmp_path):
    assert usable_cores({}, tmp_path) == 8


def test_all_cores_where_the_system_has_no_affinity(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores({}, tmp_path) == 128
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores({}, tmp_path) == 1


@pytest.mark.parametrize(
    ("environ", "cores"),
    [
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "6"}, 4),
        # All tasks of the job on this node have these.
        ({"SLURM_CPUS_ON_NODE": "6"}, 6),
        # What a task asked for is no more than what it is kept to.
        ({"SLURM_CPUS_PER_TASK": "64"}, 8),
        ({"SLURM_CPUS_PER_TASK": "", "SLURM_CPUS_ON_NODE": "many"}, 8),
    ],
)
def test_a_job_of_slurm_uses_its_share(environ, cores, tmp_path):
    assert usable_cores(environ, tmp_path) == cores


@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        ({HERE: "300000 100000"}, 3),
        ({HERE: "max 100000"}, 8),
        ({HERE: "150000 100000"}, 2),  # half a core is worth a process
        ({HERE: "1000 100000"}, 1),
        # The least of all groups above holds.
        ({HERE: "300000 100000", "/jobs": "200000 100000", "": "max 100000"}, 2),
        # A container sees its own group at the top, and may not see where that lies.
        ({"": "500000 100000"}, 5),
        ({HERE: "damaged"}, 8),
    ],
)
def test_a_quota_of_control_groups_version_2(limits, cores, tmp_path):
    files = {f"sys/fs/cgroup{group}/cpu.max": f"{text}\n" for group, text in limits.items()}
    assert usable_cores({}, system(tmp_path, f"0::{HERE}\n", files)) == cores


@pytest.mark.parametrize(("quota", "cores"), [(400_000, 4), (-1, 8)])
def test_a_quota_of_control_groups_version_1(quota, cores, tmp_path):
    folder = f"sys/fs/cgroup/cpu{HERE}"
    files = {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": "100000\n"}
    groups = f"5:memory:/other\n4:cpu,cpuacct:{HERE}\n"
    assert usable_cores({}, system(tmp_path, groups, files)) == cores


def test_nothing_else_asks_how_many_cores_the_machine_has():
    # A cluster's job that starts a process for each core of the node would crawl.
    files = (file for part in ("tcmax_jax", "experiments", "tests") for file in part_of(part))
    assert [file.name for file in files if "cpu_count" in file.read_text()] == [
        "cores.py",
        "test_cores.py",
    ]
