"""What this machine has to compute with, and whether JAX uses it."""

import os
import re
import subprocess
from collections.abc import Callable, Collection, Mapping

import jax

from tcmax_jax.commands.doctor.findings import Finding

_TAKEN_MEMORY = 0.1  # of a GPU; less than that are contexts and displays
_GPU_QUERY = [
    "nvidia-smi",
    "--query-gpu=index,memory.used,memory.total",
    "--format=csv,noheader,nounits",
]


def find_devices() -> tuple[list, list[Finding]]:
    """Returns JAX's devices, those of the CPU where those that were asked for are not there."""
    try:
        return jax.devices(), []
    except (RuntimeError, AssertionError) as error:  # The latter without the platform's plugin.
        reason = str(error).strip().rstrip(".") or "its plugin is not installed"
        text = (
            f"JAX has no devices of JAX_PLATFORMS={jax.config.jax_platforms!r}: {reason}. Install "
            'what is missing (pip install "jax[cuda13]" or "jax[tpu]"), or correct JAX_PLATFORMS. '
            "All else was found on the CPU."
        )
        jax.config.update("jax_platforms", "cpu")
        return jax.devices(), [Finding("error", text)]


def gpu_memory() -> str:
    """Returns lines `index, MiB in use, MiB in all` of NVIDIA GPUs; "" without one that works."""
    try:
        query = subprocess.run(_GPU_QUERY, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return query.stdout


def accelerators(
    gpu_memory: str, environ: Mapping[str, str], exists: Callable = os.path.exists
) -> list[str]:
    """Returns what this machine has of "gpu" and "tpu".

    Args:
      gpu_memory: what nvidia-smi lists, nothing where there is no GPU that works.
      environ: environment variables.
      exists: whether there is a file of a path.
    """
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
        f"this host: {cores} cores, {host:.1f} GiB",
    ]


def unused_accelerator(
    platform: str, there: Collection[str], environ: Mapping[str, str]
) -> list[Finding]:
    """Finds an accelerator that JAX does not use.

    Args:
      platform: that of JAX's devices.
      there: what the machine has, of "gpu" and "tpu".
      environ: environment variables.
    """
    if platform != "cpu" or not there:
        return []
    named = " and a ".join(name.upper() for name in there)
    hidden = [n for n in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES") if _hides(n, environ.get(n))]
    if hidden:
        return [
            Finding(
                "warning",
                f"JAX runs on the CPU although there is a {named}, since "
                f"{hidden[0]}={environ[hidden[0]]!r}. Unset {hidden[0]} to use it.",
            )
        ]
    wanted = "jax[tpu]" if "tpu" in there else "jax[cuda13]"
    older = "" if "tpu" in there else " (jax[cuda12] for drivers before 580)"
    return [
        Finding(
            "error",
            f"JAX runs on the CPU although there is a {named}. Run "
            f'pip install "{wanted}"{older}. If that was done, look at what `python -c "import '
            'jax; jax.devices()"` prints.',
        )
    ]


def taken_gpus(query: str, visible: str | None) -> list[Finding]:
    """Finds GPUs whose memory others hold.

    Args:
      query: lines `index, MiB in use, MiB in all` from before JAX took its share.
      visible: CUDA_VISIBLE_DEVICES.
    """
    findings, chosen = [], re.split(r"\s*,\s*", visible or "")
    # Names that are no numbers (of MIG slices, say) cannot be told apart here.
    by_number = all(name.isdigit() for name in chosen)
    for line in query.splitlines():
        index, used, total = (cell.strip() for cell in line.split(","))
        seen = index in chosen or not by_number
        if seen and used.isdigit() and total.isdigit() and int(used) > _TAKEN_MEMORY * int(total):
            findings.append(
                Finding(
                    "warning",
                    f"Another process holds {used} of the {total} MiB of GPU {index}, and JAX "
                    "takes 75 % at its start. End it (nvidia-smi names it), choose other GPUs with "
                    "CUDA_VISIBLE_DEVICES, or lower XLA_PYTHON_CLIENT_MEM_FRACTION.",
                )
            )
    return findings


def fake_devices(environ: Mapping[str, str], cores: int) -> list[Finding]:
    """Finds fake CPU devices that may wait for each other without end."""
    asked = re.search(r"xla_force_host_platform_device_count=(\d+)", environ.get("XLA_FLAGS", ""))
    if not asked or int(asked[1]) < max(cores, 2) or "NPROC" in environ:
        return []
    return [
        Finding(
            "warning",
            f"{asked[1]} fake CPU devices on {cores} cores can wait for each other without end. "
            f"Set NPROC={4 * int(asked[1])} in the environment.",
        )
    ]


def _hides(name: str, value: str | None) -> bool:
    if name == "JAX_PLATFORMS":
        return (value or "").split(",")[0] == "cpu"
    return value in ("", "-1")
