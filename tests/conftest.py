"""Four fake CPU devices for the whole suite, and strict array semantics for the losses.

The environment is set before jax is imported, and goes on to the processes that tests start. NPROC
gives the CPU client enough threads for several steps with collectives in flight; without it fake
devices can dead-lock.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=4"
    # Compiling is most of the time of this suite; nothing in it is large enough to run fast.
    # The older emitter of fusions compiles in less than half the time of the newer one.
    " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false"
)
os.environ["NPROC"] = "16"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Many tests compile the same programs, in several processes; one folder for them all.
    cache = tempfile.mkdtemp(prefix="tcmax_jax-tests-")
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import hypothesis
import jax
import pytest

# The same examples on every machine, in times that vary.
hypothesis.settings.register_profile(
    "suite", derandomize=True, deadline=None, database=None, max_examples=100
)
hypothesis.settings.load_profile("suite")


# Linux grants 65530; the module that compiles most adds some 44000.
_MANY_MAPS = 15_000


@pytest.fixture(scope="module", autouse=True)
def _compiled_code_leaves_maps_to_the_next_module():
    """Frees compiled code where there is much of it: each program holds memory maps."""
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > _MANY_MAPS:
        jax.clear_caches()


@pytest.fixture
def devices():
    """Returns the four fake devices."""
    assert jax.device_count() == 4
    return jax.devices()


@pytest.fixture
def strict():
    """Turns silent broadcasting and silent dtype promotion into errors."""
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield
