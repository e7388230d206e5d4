"""HBM traffic and collectives of compiled programs, counted by hand and against the compiler."""

import os
from unittest import mock

import jax
import jax.numpy as jnp
import pytest

from tcmax_jax.commands.plan.cost import Collective, collectives
from tcmax_jax.commands.plan.hlo import Array, read_program, scheduled
from tcmax_jax.commands.plan.slices import find_slice
from tcmax_jax.commands.plan.traffic import hbm_bytes

# An exchange of two arrays at once, one that begins and ends, and one beside other work, which
# three fusions name.
EXCHANGES = """\
HloModule jit__fun, is_scheduled=true

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add = f32[] add(%a, %b)
}

%fused_begin (p0: f32[1,2,8]) -> (f32[1,2,8], f32[4,2,8], u32[]) {
  %p0 = f32[1,2,8]{2,1,0:T(2,128)} parameter(0)
  %all-gather.1 = f32[4,2,8]{2,1,0:T(2,128)} all-gather(%p0), channel_id=4, dimensions={0}
  ROOT %custom-call.1 = f32[4,2,8] custom-call(%p0), custom_call_target="AsyncCollectiveStart"
}

%fused_between (p0: f32[1,2,8]) -> f32[4,2,8] {
  %p0 = f32[1,2,8]{2,1,0:T(2,128)} parameter(0)
  ROOT %all-gather.2 = f32[4,2,8]{2,1,0:T(2,128)} all-gather(%p0), channel_id=4, dimensions={0}
}

%fused_end (p0: f32[1,2,8]) -> f32[4,2,8] {
  %p0 = f32[1,2,8]{2,1,0:T(2,128)} parameter(0)
  %all-gather.3 = f32[4,2,8]{2,1,0:T(2,128)} all-gather(%p0), channel_id=4, dimensions={0}
  ROOT %custom-call.3 = f32[4,2,8] custom-call(%p0), custom_call_target="AsyncCollectiveDone"
}

%body (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %all-reduce.2 = f32[8]{0} all-reduce(%p), channel_id=2, to_apply=%sum
}

ENTRY %main (x: f32[1,2,8], y: bf16[3]) -> f32[8] {
  %x = f32[1,2,8]{2,1,0:T(2,128)} parameter(0)
  %y = bf16[3]{0} parameter(1)
  %all-reduce.1 = (f32[8]{0:T(256)S(1)}, bf16[3,5]{1,0}) all-reduce(%x, %y), to_apply=%sum
  %fusion.1 = (f32[1,2,8], f32[4,2,8], u32[]) fusion(%x), kind=kCustom, calls=%fused_begin
  %fusion.2 = f32[4,2,8] fusion(%fusion.1), kind=kOutput, calls=%fused_between
  %fusion.3 = f32[4,2,8] fusion(%fusion.2), kind=kCustom, calls=%fused_end, metadata={}
  %start = (f32[2]{0}, f32[8]{0}) all-gather-start(%y), channel_id=5, dimensions={0}
  %done = f32[8]{0} all-gather-done(%start)
  ROOT %while.1 = f32[8]{0} while(%done), condition=%less, body=%body
}
"""


def test_exchanges_count_once_each_with_the_bytes_of_their_results():
    assert collectives(read_program(EXCHANGES)) == {
        "all-gather": Collective(2, 4 * 2 * 8 * 4 + 8 * 4),
        "all-reduce": Collective(2, 8 * 4 + 3 * 5 * 2 + 8 * 4),
    }


def traffic(lines, fused=""):
    """Returns the HBM traffic of instructions on the arrays x and y, and on one on the chip."""
    return hbm_bytes(
        read_program(f"""\
{fused}
ENTRY %main (x: f32[8,128], y: f32[8,128]) -> f32[8,128] {{
  %x = f32[8,128]{{1,0:T(8,128)}} parameter(0), sharding={{replicated}}
  %y = f32[8,128]{{1,0:T(8,128)}} parameter(1)
  %i = s32[]{{:T(128)S(6)}} constant(0)
  %chip = f32[8,128]{{1,0:T(8,128)S(1)}} broadcast(%i), dimensions={{}}
{lines}
}}
""")
    )


HBM, CHIP = "f32[8,128]{1,0:T(8,128)}", "f32[8,128]{1,0:T(8,128)S(1)}"
ROWS = "f32[2,128]{1,0:T(2,128)S(1)}"
WHOLE = 8 * 128 * 4  # bytes


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"%a = {HBM} add(%x, %y)", 3 * WHOLE),
        (f"%a = {HBM} multiply(%x, %x)", 2 * WHOLE),
        (f"%a = {CHIP} add(%x, %chip)", WHOLE),
        (f"%a = {CHIP} add(%chip, %chip)", 0),
        (f"%a = {HBM} bitcast(%x)", 0),
        (f"%a = ({HBM}, {CHIP}) tuple(%x, %chip)", 0),
        (f'%a = {HBM} custom-call(%x, %y), custom_call_target="ConcatBitcast"', 0),
        (f"%a = {HBM} opt-barrier(%x)", 0),
        (f'%a = {HBM} custom-call(%x, %y), custom_call_target="tpu_custom_call"', 3 * WHOLE),
        # To the chip, back, and from one place to another.
        (f"%s = ({CHIP}, {HBM}, u32[]) copy-start(%x)\n  %a = {CHIP} copy-done(%s)", WHOLE),
        (f"%s = ({HBM}, {CHIP}, u32[]) copy-start(%chip)\n  %a = {HBM} copy-done(%s)", WHOLE),
        (f"%s = ({HBM}, {HBM}, u32[]) copy-start(%x)\n  %a = {HBM} copy-done(%s)", 2 * WHOLE),
        # Two of eight rows.
        (
            f"%s = (({HBM}), {ROWS}, s32[]) slice-start(%x), slice={{[0:2], [0:128]}}\n"
            f"  %a = {ROWS} slice-done(%s)",
            WHOLE // 4,
        ),
        # All rows of x go out, four times as many come in.
        (
            f"%s = ({HBM}, f32[32,128]{{1,0:T(8,128)}}) all-gather-start(%x), dimensions={{0}}\n"
            "  %a = f32[32,128]{1,0:T(8,128)} all-gather-done(%s)",
            5 * WHOLE,
        ),
        ("%a = f32[2,128]{1,0:T(2,128)} dynamic-slice(%x, %i, %i)", 2 * WHOLE // 4),
        (f"%a = {HBM} dynamic-update-slice(%x, %row, %i, %i)", 2 * 128 * 4),
        (f"%a = {HBM} scatter(%x, %i, %row), to_apply=%sum", 2 * 128 * 4),
        # 6 x 3 elements take the place of 8 x 128.
        ("%a = bf16[6,3]{1,0:T(8,128)(2,1)} convert(%chip)", 8 * 128 * 2),
        # The last axis of the memory is the first of the array.
        ("%a = f32[128,3,8]{0,2,1:T(8,128)} convert(%chip)", 3 * WHOLE),
        ("%a = pred[]{:T(256)} convert(%chip)", 256),
        ("%a = f32[10] convert(%chip)", 40),
        ("%a = token[] after-all()", 0),
        (f"%a = ({HBM}, token[]) rng(%chip)", WHOLE),
        (f'%a = {HBM} add(%x, %y), metadata={{op_name="f(x), calls=%g"}}', 3 * WHOLE),
    ],
)
def test_what_an_instruction_moves(line, expected):
    row = "  %row = f32[1,128]{1,0:T(1,128)} parameter(2)\n"
    assert traffic(row + "  " + line) == expected


# Of p the rows 0 and 2 are taken, behind a bitcast and a conversion; one row of q is replaced.
FUSED = """\
%inner (p: f32[8,128], q: f32[8,128], r: f32[1,128]) -> f32[8,128] {
  %r = f32[1,128]{1,0:T(1,128)} parameter(1)
  %q = f32[8,128]{1,0:T(8,128)} parameter(0)
  %i = s32[] constant(0)
  %replaced = f32[8,128]{1,0:T(8,128)} dynamic-update-slice(%q, %r, %i, %i)
  ROOT %same = f32[8,128]{1,0:T(8,128)} bitcast(%replaced)
}

%fused (p: f32[8,128], q: f32[8,128], r: f32[1,128]) -> (f32[1,128], f32[8,128]) {
  %r = f32[1,128]{1,0:T(1,128)} parameter(2)
  %q = f32[8,128]{1,0:T(8,128)} parameter(1)
  %p = f32[8,128]{1,0:T(8,128)} parameter(0)
  %flat = f32[1024]{0} bitcast(%p)
  %half = bf16[1024]{0} convert(%flat)
  %first = bf16[128]{0} slice(%half), slice={[0:128]}
  %third = bf16[128]{0} slice(%half), slice={[256:384]}
  %add = bf16[128]{0} add(%first, %third)
  %row = f32[1,128]{1,0} convert(%add)
  %replaced = f32[8,128]{1,0:T(8,128)} fusion(%q, %r), kind=kLoop, calls=%inner
  ROOT %both = (f32[1,128]{1,0}, f32[8,128]{1,0:T(8,128)}) tuple(%row, %replaced)
}
"""


def test_a_fusion_moves_the_rows_that_it_takes_and_replaces():
    lines = """\
  %row = f32[1,128]{1,0:T(1,128)S(1)} broadcast(%i)
  %a = (f32[1,128]{1,0:T(1,128)}, f32[8,128]{1,0:T(8,128)}) fusion(%x, %y, %row), calls=%fused"""
    # Two rows of x, one sum of them, one row of y.
    assert traffic(lines, FUSED) == 4 * 128 * 4


def test_what_a_fusion_passes_on_is_not_moved():
    fused = """\
%fused (p: f32[8,128], q: f32[8,128]) -> (f32[8,128], f32[8,128]) {
  %p = f32[8,128]{1,0:T(8,128)} parameter(0)
  %q = f32[8,128]{1,0:T(8,128)} parameter(1)
  %sine = f32[8,128]{1,0:T(8,128)} sine(%p)
  ROOT %both = (f32[8,128]{1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)}) tuple(%sine, %q)
}
"""
    line = f"  %a = ({HBM}, {HBM}) fusion(%x, %y), kind=kOutput, "
    line += "output_to_operand_aliasing={{1}: (1, {})}, calls=%fused"
    assert traffic(line, fused) == 2 * WHOLE


def test_sizes_and_traffic_are_those_of_the_compiler(devices):
    pytest.importorskip("libtpu")
    with mock.patch.dict(os.environ):
        on = jax.sharding.SingleDeviceSharding(find_slice("v5e:2x2").devices[0])
        x = jax.ShapeDtypeStruct((48, 300), jnp.float32, sharding=on)
        y = jax.ShapeDtypeStruct((300, 7), jnp.bfloat16, sharding=on)
        compiled = jax.jit(lambda x, y: (x + 1, y * 2)).lower(x, y).compile()
    (entry,) = scheduled(program := read_program(compiled.as_text()))
    taken = [array for x in entry.parameters for array in entry.instructions[x].result]
    memory = compiled.memory_analysis()
    shapes = [(48 * 300, 4), (300 * 7, 2)]
    stored = [array.stored for array in taken]
    assert taken == [Array(n, n * b, s, True) for (n, b), s in zip(shapes, stored, strict=True)]
    assert sum(stored) == memory.argument_size_in_bytes
    # Each argument is read once, and a result of its shape is written once.
    assert hbm_bytes(program) == 2 * memory.argument_size_in_bytes
