"""Settings of the memory allocator for pictures and batches."""

import ctypes
import sys

# Parameters of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> None:
    """Keeps freed memory for reuse by the next picture; does nothing without glibc.

    By default each buffer of a megabyte is given back to the system and faulted in again, page by
    page, which takes a quarter of the time of reading and decoding (see
    experiments/benchmarks/pipeline.py). It acts on the whole process, so that only commands and
    worker processes call it. Up to 1 GiB is kept.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # Other C libraries of Linux have none.
        mallopt(_MMAP_THRESHOLD, 32 << 20)
        mallopt(_TRIM_THRESHOLD, 1 << 30)
        mallopt(_TOP_PAD, 64 << 20)
