"""How much a compiled program moves from and to HBM, the memory of an accelerator off the chip."""

from tcmax_jax.commands.plan.hlo import Array, Computation, Instruction, Program, scheduled

# Their results are what is there already, or what other computations give, which count themselves.
_MOVE_NOTHING = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "opt-barrier"),
    *("while", "conditional", "call", "after-all", "add-dependency", "send", "recv"),
    *("partition-id", "replica-id"),
}
_KERNEL = "tpu_custom_call"  # Other custom calls give arrays another shape or name.
_TAKE_A_PART = {"slice", "dynamic-slice", "gather"}
_REPLACE_A_PART = {"dynamic-update-slice": 1, "scatter": 2}  # with which operand


def hbm_bytes(program: Program) -> int:
    """Returns the bytes that a program moves from and to HBM at least, in whole tiles.

    An instruction reads each of its operands once and writes its result. Of an array of which it
    takes or replaces a part, that part counts. What stays on the chip between two instructions does
    not count. Loops count as run once, conditionals with all their branches.
    """
    return sum(
        _moved(each, computation, program)
        for computation in scheduled(program)
        for each in computation.instructions.values()
    )


def _moved(instruction: Instruction, computation: Computation, program: Program) -> int:
    """Returns the bytes that an instruction of a computation moves."""
    opcode, known = instruction.opcode, computation.instructions
    if opcode in _MOVE_NOTHING or opcode.endswith(("-start", "-update")):
        return 0
    if opcode == "custom-call" and _KERNEL not in instruction.text:
        return 0
    if opcode.endswith("-done"):
        return _moved_beside(instruction, computation)
    stays, read = instruction.in_place(), {}
    for position, name in enumerate(instruction.operands):
        if position not in stays.values() and len(known[name].result) == 1:
            for array in _in_hbm(known[name]):
                part = min(_taken(instruction, position, array, program), array.size)
                read[name] = max(read.get(name, 0), _stored(part, array))
    written = (
        _stored(_replaced(instruction, i, array, computation, program), array)
        for i, array in enumerate(instruction.result)
        if array.in_hbm and i not in stays
    )
    return sum(read.values()) + sum(written)


def _moved_beside(done: Instruction, computation: Computation) -> int:
    """Returns the bytes of a copy, slice or exchange that ran beside other instructions."""
    known = computation.instructions
    arrived = sum(array.stored for array in done.result)
    sources = [_in_hbm(known[name]) for name in set(known[done.operands[0]].operands)]
    read = sum(min(sum(array.stored for array in arrays), arrived) for arrays in sources)
    return read + sum(array.stored for array in _in_hbm(done))


def _in_hbm(instruction: Instruction) -> list[Array]:
    return [array for array in instruction.result if array.in_hbm]


def _stored(elements: int, array: Array) -> int:
    """Returns the bytes in memory of some of the elements of an array."""
    return round(array.stored * elements / array.size) if array.size else 0


def _taken(instruction: Instruction, position: int, array: Array, program: Program) -> int:
    """Returns how many elements an instruction reads of the array that is one of its operands."""
    if instruction.opcode == "fusion":
        inner = program[instruction.applied[0]]
        return _used(inner, inner.parameters[position], array, program)
    if position == 0 and instruction.opcode in _TAKE_A_PART:
        return instruction.result[0].size
    return 0 if position == 0 and instruction.opcode in _REPLACE_A_PART else array.size


def _used(computation: Computation, name: str, array: Array, program: Program) -> int:
    """Returns how many elements a computation uses of the array that one of its instructions is."""
    if name == computation.root:
        return array.size
    used = 0
    for user, each in computation.instructions.items():
        for position, operand in enumerate(each.operands):
            if operand == name:
                # Such as bitcast and convert: what others use of their result is used.
                alike = len(each.operands) == 1 and [x.size for x in each.result] == [array.size]
                if alike and each.opcode != "fusion":
                    used += _used(computation, user, array, program)
                else:
                    used += _taken(each, position, array, program)
    return used


def _replaced(
    instruction: Instruction, i: int, array: Array, computation: Computation, program: Program
) -> int:
    """Returns how many elements an instruction writes of the i-th array of its result."""
    opcode, operands, inner = instruction.opcode, instruction.operands, computation
    if opcode == "fusion":
        inner = program[instruction.applied[0]]
        source = inner.root
    elif opcode in ("tuple", "bitcast"):
        source, i = operands[i if opcode == "tuple" else 0], 0
    elif opcode in _REPLACE_A_PART:
        return computation.instructions[operands[_REPLACE_A_PART[opcode]]].result[0].size
    else:
        return array.size
    return _replaced(inner.instructions[source], i, array, inner, program)
