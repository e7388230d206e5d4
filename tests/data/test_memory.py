"""Memory of pictures is kept where the C library can, and left alone elsewhere."""

import ctypes
import sys
from types import SimpleNamespace

from tcmax_jax.data import memory


def test_glibc_is_told_to_keep_large_buffers(monkeypatch):
    told = {}
    monkeypatch.setattr(sys, "platform", "linux")
    library = SimpleNamespace(mallopt=told.__setitem__)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    memory.keep_freed_memory()
    # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD of malloc.h, in bytes.
    assert told == {-3: 33_554_432, -1: 1_073_741_824, -2: 67_108_864}


def test_other_systems_and_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    memory.keep_freed_memory()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", None)
    memory.keep_freed_memory()
