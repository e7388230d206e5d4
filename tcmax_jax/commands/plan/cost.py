"""Memory, FLOPs, bytes and collectives of a compiled program, as its compiler reports them."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
from jax.stages import Lowered

_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?(\S+) \(.*\{$")
_COLLECTIVE = re.compile(rf"= (.*?) ({_KINDS})(-start)?\(")
_LOOP = re.compile(r"= .*? while\(")
_ARRAY = re.compile(r"([a-z]+\d*[a-z\d]*)\[([\d,]*)\]")
_FUSED = re.compile(r" fusion\(.*\bcalls=%?([\w.-]+)")
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
      bytes: that its operations read and write, wherever these lie.
      collectives: {kind: `Collective`}.
      loops: number of loops, whose content counts once in all but the memory.
    """

    memory: int
    flops: float
    bytes: float
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
    memory, counted, text = compiled.memory_analysis(), compiled.cost_analysis(), compiled.as_text()
    return Cost(
        memory=memory.peak_memory_in_bytes + memory.generated_code_size_in_bytes,
        flops=counted["flops"],
        bytes=counted["bytes accessed"],
        collectives=collectives(text),
        loops=len(_LOOP.findall(text)),
    )


def collectives(text: str) -> dict[str, Collective]:
    """Returns {kind: count and bytes} of the collectives in a program.

    Args:
      text: the compiled program, as HLO. What runs beside other work is written as fusions, in
        several parts each of which names the exchange; the one that begins it counts.
    """
    fused, found = set(_FUSED.findall(text)), {}
    for name, lines in _computations(text):
        if name in fused and not any(_BEGINS in line for line in lines):
            continue
        for line in lines:
            if match := _COLLECTIVE.search(line):
                result, kind, begins = match.groups()
                sizes = [_size(*array) for array in _ARRAY.findall(result)]
                # The result of a start is what goes in beside what comes out.
                size = sum(sizes) if not begins or kind == "all-reduce" else max(sizes)
                count, total = found.get(kind, (0, 0))
                found[kind] = Collective(count + 1, total + size)
    return dict(sorted(found.items()))


def _computations(text) -> Iterator[tuple[str, list[str]]]:
    name, lines = "", []
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            name, lines = match[1], []
        elif line == "}":
            yield name, lines
        else:
            lines.append(line)


def _size(dtype: str, shape: str) -> int:
    bits = int(re.search(r"\d+", dtype)[0]) if dtype != "pred" else 8
    number = 1
    for length in filter(None, shape.split(",")):
        number *= int(length)
    return number * bits // 8
