"""The devices of this machine, and whether JAX uses them."""

import os
import re
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping

import jax

from tcmax_jax.commands.doctor.checks import Finding, error, warning

_TAKEN_MEMORY = 0.1  # of a GPU; less than that are contexts and displays
_GPU_QUERY = "nvidia-smi --query-gpu=index,memory.used,memory.total --format=csv,noheader,nounits"


def find_devices() -> tuple[list, list[Finding]]:
    """Returns JAX's devices, or those of the CPU where the requested ones are missing."""
    try:
        return jax.devices(), []
    except (RuntimeError, AssertionError) as raised:  # The latter without the platform's plugin.
        reason = str(raised).strip().rstrip(".") or "its plugin is not installed"
        text = (
            f"JAX has no devices of JAX_PLATFORMS={jax.config.jax_platforms!r}: {reason}. Install "
            'what is missing (pip install "jax[cuda13]" or "jax[tpu]"), or correct JAX_PLATFORMS. '
            "Everything else was checked on the CPU."
        )
        jax.config.update("jax_platforms", "cpu")
        return jax.devices(), [error(text)]


def gpu_memory() -> str:
    """Returns lines `index, MiB in use, MiB in all` of NVIDIA GPUs; "" if nvidia-smi fails."""
    try:
        query = subprocess.run(
            _GPU_QUERY.split(), capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return query.stdout


def accelerators(
    gpu_memory: str, environ: Mapping[str, str], exists: Callable = os.path.exists
) -> list[str]:
    """Returns which of "gpu" and "tpu" this machine has; `gpu_memory` is nvidia-smi's output."""
    # Other devices than TPUs hang on VFIO too.
    tpu = exists("/dev/accel0") or (
        exists("/dev/vfio") and any(name.startswith("TPU_") for name in environ)
    )
    return ["gpu"] * bool(gpu_memory or exists("/dev/nvidia0")) + ["tpu"] * bool(tpu)


def describe_devices(devices, cores: int) -> list[str]:
    """Returns lines about the devices of all processes, and about this host."""
    kinds = sorted({device.device_kind for device in devices})
    memory = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    each = f", {memory / 2**30:.1f} GiB each for JAX" if memory else ""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        f"{len(devices)} x {', '.join(kinds)}{each}; processes: {jax.process_count()}",
        f"this host: {cores} cores to use, {host:.1f} GiB",
    ]


def unused_accelerator(
    platform: str, there: Collection[str], environ: Mapping[str, str]
) -> Iterator[Finding]:
    """Finds accelerators in `there` ("gpu", "tpu") where JAX uses the CPU instead."""
    if platform != "cpu" or not there:
        return
    named = " and a ".join(name.upper() for name in there)
    unused = f"JAX runs on the CPU although there is a {named}"
    hiding = {
        "JAX_PLATFORMS": environ.get("JAX_PLATFORMS", "").split(",")[0] == "cpu",
        "CUDA_VISIBLE_DEVICES": environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"),
    }
    hidden = next((name for name, hides in hiding.items() if hides), None)
    if hidden:
        yield warning(f"{unused}, since {hidden}={environ[hidden]!r}. Unset {hidden} to use it.")
        return
    wanted = "jax[tpu]" if "tpu" in there else "jax[cuda13]"
    older = "" if "tpu" in there else " (jax[cuda12] for drivers before 580)"
    yield error(
        f'{unused}. Run pip install "{wanted}"{older}. If that was done, look at what `python -c '
        '"import jax; jax.devices()"` prints.'
    )


def taken_gpus(query: str, visible: str | None) -> Iterator[Finding]:
    """Finds GPUs in `visible` (CUDA_VISIBLE_DEVICES) whose memory other processes use.

    The `query` is that of `gpu_memory` from before JAX took its share.
    """
    chosen = re.split(r"\s*,\s*", visible or "")
    # Names that are no numbers (of MIG slices, say) cannot be told apart here.
    by_number = all(name.isdigit() for name in chosen)
    for line in query.splitlines():
        index, used, total = (cell.strip() for cell in line.split(","))
        seen = index in chosen or not by_number
        if seen and used.isdigit() and total.isdigit() and int(used) > _TAKEN_MEMORY * int(total):
            yield warning(
                f"Another process holds {used} of the {total} MiB of GPU {index}, and JAX "
                "takes 75 % at its start. End it (nvidia-smi names it), choose other GPUs with "
                "CUDA_VISIBLE_DEVICES, or lower XLA_PYTHON_CLIENT_MEM_FRACTION."
            )


def fake_devices(environ: Mapping[str, str], cores: int) -> Iterator[Finding]:
    """Finds fake CPU devices that may deadlock."""
    asked = re.search(r"xla_force_host_platform_device_count=(\d+)", environ.get("XLA_FLAGS", ""))
    if asked and int(asked[1]) >= max(cores, 2) and "NPROC" not in environ:
        yield warning(
            f"{asked[1]} fake CPU devices on {cores} cores can wait for each other without end. "
            f"Set NPROC={4 * int(asked[1])} in the environment."
        )
