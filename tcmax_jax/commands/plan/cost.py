"""Memory, FLOPs, HBM traffic and collectives of a compiled program."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
from jax.stages import Lowered

from tcmax_jax.commands.plan.hlo import Program, read_program, scheduled
from tcmax_jax.commands.plan.traffic import hbm_bytes

_COLLECTIVES = {
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"),
}
_BEGINS = 'custom_call_target="AsyncCollectiveStart"'


class Collective(NamedTuple):
    """All collectives of one kind.

    Attributes:
      count: number of them, one after the other.
      bytes: of their results on a device.
    """

    count: int
    bytes: int


class Cost(NamedTuple):
    """The cost of a program for one device.

    Attributes:
      memory: bytes at the peak: arguments, results, what is between, and the program.
      flops: FLOPs.
      bytes: that it reads from HBM and writes to it, at least (see `hbm_bytes`).
      collectives: {kind: `Collective`}.
      loops: number of loops, whose content counts once in all but the memory.
    """

    memory: int
    flops: float
    bytes: int
    collectives: Mapping[str, Collective]
    loops: int


def compile_cost(lowered: Lowered) -> Cost | None:
    """Compiles a program and returns its cost; None if it does not fit in memory."""
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None
    memory, program = compiled.memory_analysis(), read_program(compiled.as_text())
    return Cost(
        memory=memory.peak_memory_in_bytes + memory.generated_code_size_in_bytes,
        flops=compiled.cost_analysis()["flops"],
        bytes=hbm_bytes(program),
        collectives=collectives(program),
        loops=sum(
            each.opcode == "while"
            for computation in program.values()
            for each in computation.instructions.values()
        ),
    )


def collectives(program: Program) -> dict[str, Collective]:
    """Returns {kind: count and bytes} of the collectives in a program."""
    found = {}
    for kind, size in _exchanges(program):
        count, total = found.get(kind, (0, 0))
        found[kind] = Collective(count + 1, total + size)
    return dict(sorted(found.items()))


def _exchanges(program: Program) -> Iterator[tuple[str, int]]:
    """Yields kind and bytes of each collective.

    Those that run beside other work are spread over several fusions, each of which contains the
    collective; the one that begins it counts.
    """
    computations = list(scheduled(program))
    for computation in computations[:]:
        for each in computation.instructions.values():
            inner = [program[name] for name in each.applied if each.opcode == "fusion"]
            computations += filter(_begins, inner)
    for computation in computations:
        for each in computation.instructions.values():
            kind = each.opcode.removesuffix("-start")
            if kind in _COLLECTIVES:
                sizes = [array.bytes for array in each.result]
                # The result of a start is what goes in beside what comes out.
                both = kind != each.opcode and kind != "all-reduce"
                yield kind, max(sizes) if both else sum(sizes)


def _begins(computation):
    return any(_BEGINS in each.text for each in computation.instructions.values())
