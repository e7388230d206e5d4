"""Four fake CPU devices for the whole suite, and strict array semantics for the losses.

The environment is set before jax is imported, and goes on to the processes that tests start. NPROC
gives the CPU client enough threads for several steps with collectives in flight; without it fake
devices can dead-lock. Fixtures import what takes long: the process that hands tests out to others
needs none of it.
"""

import atexit
import ctypes
import gc
import importlib.metadata
import os
import shutil
import tempfile
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=4"
    # Compiling is most of the time of this suite; nothing in it is large enough to run fast.
    " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_parallel_codegen_split_count=1"
)
if importlib.metadata.version("jaxlib").startswith("0.10."):
    # The older emitter of fusions takes half the time. Later versions do not know the flag, and end
    # the process that asks for it.
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
os.environ["NPROC"] = "16"
if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    # Compilers of several workers, each with a thread a core, take a fifth longer in all than those
    # that keep to cores of their own.
    worker = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    cores = sorted(os.sched_getaffinity(0))[worker :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]
    os.sched_setaffinity(0, cores or os.sched_getaffinity(0))
# The threads of BLAS spin while they wait for each other, and take the time of other workers; the
# matrices here are far too small for several.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Many tests compile the same programs, in several processes; one folder for them all.
    cache = tempfile.mkdtemp(prefix="tcmax_jax-tests-")
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import hypothesis
import pytest

# Tracing makes many objects.
gc.set_threshold(100_000, 50, 100)

# The same examples on every machine, in times that vary.
hypothesis.settings.register_profile(
    "suite", derandomize=True, deadline=None, database=None, max_examples=100
)
hypothesis.settings.load_profile("suite")


def pytest_collection_finish():
    """Lets collections of garbage pass over all that has been imported."""
    gc.freeze()


# Compiled programs are most of the memory of a worker. Above this they are dropped after a test;
# what is needed again comes from the cache on disk.
_MUCH_MEMORY = 1500 * 2**20  # bytes


@pytest.fixture(autouse=True)
def _compiled_programs_do_not_pile_up():
    """Frees compiled programs where they take much memory; on Linux alone."""
    yield
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return
    if int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > _MUCH_MEMORY:
        import jax

        jax.clear_caches()
        gc.collect()
        # Most of it was freed in small pieces, which glibc keeps unless it is asked.
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)


@pytest.fixture(autouse=True, scope="session")
def _runs_share_programs():
    """Saves tracing what an equal run has traced; test_programs.py compares with runs alone."""
    from tcmax_jax.training.programs import shared_programs

    with shared_programs():
        yield


@pytest.fixture(autouse=True)
def _recipes_are_forgotten():
    """Forgets what a recipe has defined, as another process would."""
    from tcmax_jax.section import forget

    yield
    forget("tcmax_jax.loaded_recipe")


@pytest.fixture
def devices():
    """Returns the four fake devices."""
    import jax

    assert jax.device_count() == 4
    return jax.devices()


@pytest.fixture
def strict():
    """Turns silent broadcasting and silent dtype promotion into errors."""
    import jax

    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield
