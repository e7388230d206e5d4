"""TPU slices by name: their chips' published specifications, and their devices in JAX."""

import importlib.util
import math
import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

MIB = 2**20
_GIB = 2**30


class Chip(NamedTuple):
    """Specification of one chip, from cloud.google.com/tpu/docs (v4, v5e, v5p, v6e; read in 2026).

    Attributes:
      memory: bytes of HBM.
      flops: FLOP/s of bfloat16 at the most. Of float32 nothing is published: matrices are
        multiplied in bfloat16 there too, unless JAX is asked for more.
      bandwidth: bytes/s of HBM at the most.
      dimensions: of the torus that joins the chips.
      options: of the compiler, for one device a chip.
    """

    memory: int
    flops: float
    bandwidth: float
    dimensions: int
    options: Mapping[str, Any] = MappingProxyType({})


CHIPS = {
    "v4": Chip(32 * _GIB, 275e12, 1.228e12, 3, {"chip_config_name": "megacore"}),
    "v5e": Chip(16 * _GIB, 197e12, 0.819e12, 2),
    "v5p": Chip(95 * _GIB, 459e12, 2.765e12, 3),
    "v6e": Chip(32 * _GIB, 918e12, 1.64e12, 2),
}
# What the compiler asks its surroundings for, on a TPU VM: neither its metadata server nor other
# hosts are there. The lock on chips is not for a compiler that uses none.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_LOG_DIR": "disabled",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
_ACCEPTED = (
    "v5e or v6e with two even numbers, such as v5e:4x4, or v4 or v5p with three numbers, the first "
    "two of them even, such as v5p:2x2x4"
)


class Slice(NamedTuple):
    """A TPU slice.

    Attributes:
      name: such as v5e:4x4.
      chip: what each of its chips has.
      devices: its chips, as descriptions that programs can be compiled for.
      hosts: number of hosts, of four chips each as the compiler has it.
    """

    name: str
    chip: Chip
    devices: list
    hosts: int


def find_slice(name: str) -> Slice:
    """Returns a TPU slice, for which the package libtpu can compile.

    Args:
      name: kind of chip and numbers of chips along each dimension, such as v5e:4x4.

    Raises:
      ValueError: no such slice is known.
      ModuleNotFoundError: libtpu is not installed.
    """
    kind, _, sizes = name.partition(":")
    chip, numbers = CHIPS.get(kind), [int(n) for n in re.findall(r"\d+", sizes)]
    well_formed = re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", sizes)
    even = not any(n % 2 for n in numbers[:2])
    if not chip or not well_formed or len(numbers) != chip.dimensions or not even:
        raise ValueError(f"Expected --topology as {_ACCEPTED}, got {name!r}.")
    if importlib.util.find_spec("libtpu") is None:
        raise ModuleNotFoundError("No module named 'libtpu'", name="libtpu")
    os.environ.pop("XLA_FLAGS", None)  # An unknown one, for other devices, would end the process.
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    # Compiling must not take the accelerators of this machine.
    jax.config.update("jax_platforms", "cpu")
    from jax.experimental import topologies

    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=name, **chip.options)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"Expected --topology as {_ACCEPTED}, got {name!r}, which libtpu refuses: {reason}"
        ) from error
    devices = list(described.devices)
    assert len(devices) == math.prod(numbers), (name, len(devices))
    return Slice(name, chip, devices, len({device.process_index for device in devices}))
