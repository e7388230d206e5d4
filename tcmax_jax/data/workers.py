"""Worker processes that read and decode, and end when their parent process ends."""

import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory


def begin_children() -> None:
    """Starts the process that frees shared resources when this one and its children have ended.

    `multiprocessing` starts it with the first semaphore, but after that has been made: what is
    killed in these milliseconds would leave it in /dev/shm.
    """
    resource_tracker.ensure_running()


def end_with_parent() -> None:
    """Ends this process, a child of `multiprocessing`, as soon as its parent has ended.

    Every process that this package starts calls it first. Without it the children of a process that
    is killed (SIGKILL, the out-of-memory killer) wait for work for good, and with them the process
    that frees their shared memory.

    The parent holds the other end of a pipe, which every system closes with it, and which a child
    that comes late finds closed. PR_SET_PDEATHSIG of Linux would follow the thread that started the
    child, and grain's threads end long before its workers.
    """
    # Ctrl-C goes to all processes of a terminal: the parent ends, and this one with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end, name="end_with_parent", daemon=True).start()


def _end() -> None:
    multiprocessing.parent_process().join()
    while _makes_shared_memory():  # What is half made is not known yet to who frees it.
        time.sleep(0.001)
    os._exit(1)  # The usual end would wait for queues that nobody reads.


def _makes_shared_memory() -> bool:
    frames = (traceback.walk_stack(top) for top in sys._current_frames().values())
    making = SharedMemory.__init__.__code__
    return any(frame.f_code is making for frame, _ in itertools.chain.from_iterable(frames))
