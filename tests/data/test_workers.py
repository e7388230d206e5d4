"""Nothing of a killed process is left: no child, no tracker, no shared memory."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from tcmax_jax.data import workers

ROOT = Path(__file__).parents[2]
SHARED, PROC = Path("/dev/shm"), Path("/proc")
PROCESSES = 2  # of each kind

pytestmark = pytest.mark.skipif(
    not (PROC / "self/environ").exists() or not SHARED.is_dir(), reason="needs /proc and /dev/shm"
)


@contextlib.contextmanager
def marked(folder, number=0):
    """Starts a process, and ends whatever is left of it, so that a failure leaves nothing."""
    folder.mkdir()
    mark = f"t{os.getpid() % 10**5}{number:02d}"  # A longer one would leave no room for names.
    command = [sys.executable, "-m", "tests.data.working", str(folder), str(PROCESSES)]
    environ = os.environ | {"MARK": mark}
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout.readline() == "starting\n"
            yield process, mark
        finally:
            for each in living(mark):
                os.kill(each, signal.SIGKILL)
            for name in shared(mark):
                (SHARED / name).unlink(missing_ok=True)


def living(mark):
    """Returns the ids of all processes that come from a marked one, whoever their parent is now."""
    found = []
    for path in PROC.glob("[0-9]*/environ"):
        try:
            if f"MARK={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:  # It has ended, or is another user's.
            pass
    return found


def shared(mark):
    return [path.name for path in SHARED.glob(f"*{mark}*")]


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def check_killed(process, mark):
    """Kills a process and checks that nothing is left of it."""
    process.kill()
    process.wait()
    # A child that is just starting imports for some seconds before it looks.
    assert until(lambda: not living(mark), 60), f"alive: {living(mark)}"
    assert not shared(mark)


def test_children_end_with_a_killed_parent_and_free_their_memory(tmp_path):
    with marked(tmp_path / "chunks") as (process, mark):
        assert process.stdout.readline() == "working\n"
        assert len(living(mark)) == 1 + 2 * PROCESSES + 1  # itself, both kinds, their tracker
        assert until(lambda: len(shared(mark)) > PROCESSES, 10)
        check_killed(process, mark)


def test_a_child_waits_while_it_makes_shared_memory(monkeypatch):
    found = []

    def register(name, kind):
        found.append((kind, workers._makes_shared_memory()))

    with monkeypatch.context() as patch:
        patch.setattr(resource_tracker, "register", register)
        memory = SharedMemory(create=True, size=1)
    assert found == [("shared_memory", True)]
    assert not workers._makes_shared_memory()
    resource_tracker.register(memory._name, "shared_memory")
    memory.close()
    memory.unlink()


@pytest.mark.slow
def test_thirty_kills_at_random_moments_leave_nothing(tmp_path):
    moments, children, segments = random.Random(0), [], []
    for number in range(30):
        with marked(tmp_path / str(number), number) as (process, mark):
            if number % 2:  # while all work, otherwise mostly while they start
                assert process.stdout.readline() == "working\n"
            time.sleep(moments.uniform(0, 3))
            children.append(len(living(mark)) - 1)
            segments.append(len(shared(mark)))
            check_killed(process, mark)
    print(f"children at each kill: {children}, shared memory and semaphores: {segments}")
    assert max(children) == 2 * PROCESSES + 1
    assert max(segments) > PROCESSES
