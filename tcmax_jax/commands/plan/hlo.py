"""The instructions of a compiled program, read from its HLO text."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_COMPUTATION = re.compile(r"(?:ENTRY )?%?(\S+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?(\S+) = (.*?) ([a-z][\w-]*)\((.*)$")
_ATTRIBUTES = re.compile(r"\)(?:, \w+=.*)?$")
_NAME = re.compile(r"%([\w.-]+)")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=]*)\](?:\{([^{}]*)\})?")
_BITS = re.compile(r"\d+")
_TILE = re.compile(r"T\(([\d,*]+)\)")
_MEMORY = re.compile(r"S\((\d+)\)")
_APPLIED = re.compile(r"\b(?:calls|to_apply|select|scatter)=%?([\w.-]+)")
_ALIAS = re.compile(r"\{(\d*)\}: \((\d+), ")


class Array(NamedTuple):
    """An array.

    Attributes:
      size: number of its elements.
      bytes: of its elements.
      stored: bytes that it takes in memory, where its last axes are padded to whole tiles.
      in_hbm: whether it is in HBM; on the chip (or the host) otherwise.
    """

    size: int
    bytes: int
    stored: int
    in_hbm: bool


class Instruction(NamedTuple):
    """An instruction.

    Attributes:
      opcode: its kind, such as "fusion".
      result: the arrays of its result.
      operands: names of the instructions whose results it takes.
      applied: names of the computations it consists of, or applies to elements.
      text: what is between its parentheses, and its attributes.
    """

    opcode: str
    result: tuple[Array, ...]
    operands: tuple[str, ...]
    applied: tuple[str, ...]
    text: str

    def in_place(self) -> dict[int, int]:
        """Returns {index of an array of the result: index of the operand in whose memory it is}.

        They are written as `output_to_operand_aliasing={{1}: (2, {}), {3}: (0, {})}, kind=..`.
        """
        _, _, aliases = self.text.partition("output_to_operand_aliasing=")
        aliases, _, _ = aliases.partition("}, kind")
        return {int(i or 0): int(operand) for i, operand in _ALIAS.findall(aliases)}


class Computation(NamedTuple):
    """Instructions that together compute a result.

    Attributes:
      instructions: {name: instruction}, in the order in which they run.
      parameters: names of those that are its arguments, in the order of these.
      root: name of the one whose result is that of the computation.
    """

    instructions: Mapping[str, Instruction]
    parameters: tuple[str, ...]
    root: str


Program = Mapping[str, Computation]


def read_program(text: str) -> Program:
    """Returns {name: computation} of an HLO text."""
    lines, roots = {}, {}
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            name, inside = match[1], {}
            lines[name] = inside
        elif match := _INSTRUCTION.match(line):
            root, instruction, *rest = match.groups()
            inside[instruction] = _instruction(*rest)
            if root:
                roots[name] = instruction
    return {name: _computation(inside, roots.get(name, "")) for name, inside in lines.items()}


def scheduled(program: Program) -> Iterator[Computation]:
    """Yields the computations that run by themselves, not within one instruction."""
    within = {
        name
        for computation in program.values()
        for each in computation.instructions.values()
        if each.opcode != "call"
        for name in each.applied
    }
    yield from (each for name, each in program.items() if name not in within)


def _instruction(result: str, opcode: str, rest: str) -> Instruction:
    known, _, _ = rest.partition(", metadata={")
    operands = _ATTRIBUTES.split(known)[0]
    return Instruction(
        opcode,
        tuple(_array(*each) for each in _ARRAY.findall(result)),
        tuple(_NAME.findall(operands)),
        tuple(_APPLIED.findall(known)),
        rest,
    )


def _computation(instructions: Mapping[str, Instruction], root: str) -> Computation:
    numbers = {
        name: int(each.text.partition(")")[0])
        for name, each in instructions.items()
        if each.opcode == "parameter"
    }
    return Computation(instructions, tuple(sorted(numbers, key=numbers.get)), root)


def _array(dtype: str, shape: str, layout: str) -> Array:
    bits = 8 if dtype == "pred" else int((_BITS.search(dtype) or "0")[0])  # no bits of a token
    sizes = [int(size) for size in shape.replace("<=", "").split(",") if size]
    order, _, rest = layout.partition(":")
    last_first = [sizes[int(axis)] for axis in order.split(",") if axis]
    match = _TILE.match(rest)
    tile = match[1].replace("*", "1").split(",") if match else []
    padded = (
        -(-size // length) * length
        for size, length in itertools.zip_longest(
            last_first or sizes, map(int, reversed(tile)), fillvalue=1
        )
    )
    size, memory = math.prod(sizes), _MEMORY.search(rest)
    stored = math.prod(padded) * bits // 8
    return Array(size, size * bits // 8, stored, memory is None or memory[1] == "0")
