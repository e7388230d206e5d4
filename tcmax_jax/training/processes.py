"""Several processes of one run: a TPU pod, a cluster, or one process for each GPU.

All of them run the same program. `wait_for_all`, `gather`, `all_agree`, `together` and
`primary_first` are collective: every process has to call them, in the same order. With a single
process they do nothing and cost nothing.
"""

import contextlib
import socket
import sys
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from tcmax_jax.user_text import printable


def join(coordinator: str | None = None, count: int | None = None, index: int | None = None):
    """Joins this process to the others, before any other use of JAX.

    Args:
      coordinator: "host:port" of the first process; None asks the environment, which TPU pods,
        SLURM, Open MPI and Kubernetes describe.
      count: number of processes; None asks the environment.
      index: number of this process from 0; None asks the environment.

    Raises:
      ValueError: the environment does not say, or some of the three were given and not the others.
    """
    given = (coordinator, count, index)
    if None in given and given != (None, None, None):
        raise ValueError(
            f"Expected coordinator, number of processes and process id together, got {given}. "
            "Give all three, or none where the environment (TPU pod, SLURM) knows them."
        )
    if coordinator is not None:
        _check_address(coordinator)
    # Collectives of fake devices and of CPUs; without effect on GPU and TPU.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        # A process that fails waits for the others, which may be waiting for it: not for long.
        jax.distributed.initialize(coordinator, count, index, shutdown_timeout_seconds=10)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"Expected to join the other processes, got: {error}. Where nothing in the environment "
            "describes them, pass --coordinator=HOST:PORT --num_processes=N --process_id=I."
        ) from error
    # The first collective connects them, and gives up early; later ones may wait for hours.
    wait_for_all("joined")


def _check_address(coordinator: str) -> None:
    """Raises ValueError for an invalid address, for which JAX would wait minutes."""
    host, _, port = coordinator.rpartition(":")
    try:
        if not host or not port.isdigit():
            raise OSError("no HOST:PORT")
        socket.getaddrinfo(host.strip("[]"), int(port))
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"Expected --coordinator=HOST:PORT of the first process, got {coordinator!r} "
            f"({error}). Correct it."
        ) from error


def is_primary() -> bool:
    """Returns whether this is the process that writes logs and results."""
    return jax.process_index() == 0


def say(text: str) -> None:
    """Prints a line to standard error, once."""
    if is_primary():
        print(printable(text), file=sys.stderr, flush=True)


def wait_for_all(name: str) -> None:
    """Waits until every process has reached the point of this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def gather(tree):
    """Returns [N, ...] NumPy arrays of all processes as [processes * N, ...], in their order."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.process_allgather(tree, tiled=True)


def gather_texts(text: str) -> list[str]:
    """Returns the texts of all processes, in their order."""
    content = np.frombuffer(text.encode(), np.uint8)
    lengths = gather(np.array([len(content)]))
    padded = gather(np.pad(content, (0, lengths.max() - len(content)))[None])
    return [bytes(x[:length]).decode() for x, length in zip(padded, lengths, strict=True)]


def all_agree(holds: bool) -> bool:
    """Returns whether something holds in every process."""
    return bool(np.all(gather(np.array([holds]))))


@contextlib.contextmanager
def together():
    """Runs a block without collectives; an error in one process makes it raise in all of them.

    Raises:
      ValueError: the block failed in another process, whose own message says why.
    """
    error = None
    try:
        yield
    except Exception as raised:  # Whatever it is, the others must not wait for this process.
        error = raised
    if not all_agree(error is None):
        raise error or ValueError("Another process failed; its message says why.")


def primary_first(function: Callable):
    """Calls a function in the first process, then in all others, which find what it made.

    Returns:
      What it returned here.
    """
    result = None
    for turn in (True, False):
        with together():
            if is_primary() is turn:
                result = function()
    return result
