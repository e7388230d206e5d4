"""What is written down about where a run ran."""

import subprocess

import jax
import pytest

from tcmax_jax.cores import usable_cores
from tcmax_jax.training.build import keep_programs
from tcmax_jax.training.environment import commit, describe_environment


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(
        ["git", *identity, "-C", folder, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_commit_is_that_of_the_checkout(tmp_path):
    assert commit(tmp_path) == "none"
    git(tmp_path, "init", "-q")
    assert commit(tmp_path) == "none"  # nothing is committed yet
    file = tmp_path / "file"
    file.write_text("a")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "a")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit(tmp_path) == head
    (tmp_path / "untracked").write_text("b")
    assert commit(tmp_path) == head
    file.write_text("b")
    assert commit(tmp_path) == f"{head} with changes"
    # A package that lies somewhere in a checkout of something else is not of its commit.
    (tmp_path / "inside").mkdir()
    assert commit(tmp_path / "inside") == "none"


def test_git_may_be_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() == "none"


def test_host_and_devices_are_described():
    found = describe_environment(jax.devices()[:2])
    assert found["devices"] == "2 x cpu"
    assert found["processes"] == "1"
    assert found["host"].endswith(f", {usable_cores()} CPU cores")
    assert found["jax"] == jax.__version__


@pytest.mark.parametrize(
    ("platform", "before", "expected"),
    [
        ("gpu", None, "compiled"),
        ("tpu", None, "compiled"),
        ("tpu", "/asked/for", "/asked/for"),
        ("cpu", None, None),
    ],
)
def test_programs_of_accelerators_are_kept_beside_the_data(tmp_path, platform, before, expected):
    was = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", before)
        keep_programs(tmp_path, platform)
        keep_programs(None, platform)
        got = jax.config.jax_compilation_cache_dir
    finally:
        jax.config.update("jax_compilation_cache_dir", was)
    assert got == (str(tmp_path / "compiled") if expected == "compiled" else expected)
