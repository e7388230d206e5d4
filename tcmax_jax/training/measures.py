"""Measurements during training: memory use, and profiles of single steps."""

import contextlib
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from tcmax_jax.training.lowering import lower_training
from tcmax_jax.training.setup import Setup


def used_memory() -> dict:
    """Returns the peak memory so far in MiB, of this process and of a device that reports it.

    Returns:
      {"host_memory": MiB}, and "device_memory" of the first local device where its platform
      counts (GPU and TPU; CPU devices share the memory of the host).
    """
    per_mib = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux KiB
    used = {"host_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mib}
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        used["device_memory"] = stats["peak_bytes_in_use"] / 2**20
    return used


def step_memory(setup: Setup) -> float | None:
    """Returns the memory of the compiled training step on a device, in MiB.

    Activations and other temporary arrays, without parameters, optimizer state and batch. Compiles
    the step; None where the platform does not tell.
    """
    step = lower_training(setup, setup.config.training.batch_size)
    memory = step.compile().memory_analysis()
    return None if memory is None else memory.temp_size_in_bytes / 2**20


@contextlib.contextmanager
def profiled(folder: Path, steps: tuple[int, int] | None) -> Iterator[Callable[[int], None]]:
    """Profiles some steps with `jax.profiler`; TensorBoard and Perfetto show the result.

    Args:
      folder: where the profile is written.
      steps: the first and the last step to profile; None profiles none.

    Yields:
      A function to call with the number of each step before it runs.
    """
    first, last = steps or (None, None)
    with contextlib.ExitStack() as running:

        def before(step):
            if step == first:
                running.enter_context(jax.profiler.trace(folder))
            elif last is not None and step == last + 1:
                running.close()

        yield before
