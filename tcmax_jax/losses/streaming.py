"""Log-sum-exp over blocks that do not fit in memory together, with its gradient in one pass."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tcmax_jax.losses.collectives import wide_dtype


class Stream(NamedTuple):
    """The result of one pass over the blocks.

    Attributes:
      log_sum: log sum_t exp s_t over the scores of all blocks; the only differentiable part.
      log_square_sum: log sum_t exp 2 s_t, for the effective sample size.
      block_log_sums: [num_blocks] log sum exp s_t of each block, -inf where none was visited.
      visited: number of blocks visited, int32.
    """

    log_sum: jax.Array
    log_square_sum: jax.Array
    block_log_sums: jax.Array
    visited: jax.Array


def stream_logsumexp(block_scores, num_blocks, operands, *, enough=None) -> Stream:
    """Log-sum-exp of all the scores that `block_scores` gives for blocks 0 .. num_blocks - 1.

      S = log sum_t exp s_t,   dS = sum_t exp(s_t - S) ds_t

    Both sums are kept relative to the largest score so far and rescaled when a larger one comes, so
    a block is computed once for the value and the gradient together. (Reverse mode through a loop
    would hold every block, or with `jax.checkpoint` compute it twice.)

    Args:
      block_scores: function (block number, operands) -> float array of any one shape; -inf where
        there is nothing to add. It may close over traced arrays and be differentiated in them.
      num_blocks: number of blocks, static.
      operands: pytree of arrays.
      enough: function (block_log_sums, visited) -> bool that ends the pass early; on mapped devices
        it has to give the same answer on all of them.
    """
    block = np.int32(0)
    scores_of, captured = _convert_closure(block_scores, block, operands)
    if enough is not None:
        log_sums = jnp.zeros((num_blocks,), jax.eval_shape(block_scores, block, operands).dtype)
        enough, captured_by_enough = _convert_closure(enough, log_sums, block)
        captured = (captured, lax.stop_gradient(captured_by_enough))
    else:
        captured = (captured, None)
    return _stream(scores_of, num_blocks, enough, (operands, captured))


def _convert_closure(function, *example):
    """Returns (function of its captured values and arguments, captured values).

    Like `jax.closure_convert`, but for captured arrays of any type: under a later differentiation a
    function with a custom derivative must not hold on to any array of an outer trace.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*example)
    structure = jax.tree.structure(shape)

    def converted(captured, *args):
        outputs = jax.core.eval_jaxpr(closed.jaxpr, captured, *jax.tree.leaves(args))
        return jax.tree.unflatten(structure, outputs)

    return converted, closed.consts


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _stream(block_scores, num_blocks, enough, inputs):
    stream, _ = _run(block_scores, num_blocks, enough, inputs, with_gradient=False)
    return stream


@_stream.defjvp
def _stream_jvp(block_scores, num_blocks, enough, primals, tangents):
    stream, gradient = _run(block_scores, num_blocks, enough, *primals, with_gradient=True)
    directions = [d for d in jax.tree.leaves(tangents) if d.dtype != jax.dtypes.float0]
    slope = sum(jnp.sum(g * d.astype(g.dtype)) for g, d in zip(gradient, directions, strict=True))
    still = jax.tree.map(_zero_tangent, stream)
    return stream, still._replace(log_sum=slope)


def _run(block_scores, num_blocks, enough, inputs, with_gradient):
    """Returns (the stream, the gradient of its log_sum for each floating leaf of the inputs)."""
    leaves, structure = jax.tree.flatten(inputs)
    moving = [i for i, x in enumerate(leaves) if _is_float(x)]

    def scores_of(block, values):
        replaced = dict(zip(moving, values, strict=True))
        xs = [replaced.get(i, x) for i, x in enumerate(leaves)]
        operands, (captured, _) = jax.tree.unflatten(structure, xs)
        return block_scores(captured, block, operands)

    values = [leaves[i] for i in moving]
    dtype = jax.eval_shape(scores_of, np.int32(0), values).dtype

    def visit(block, state):
        block = jnp.asarray(block, jnp.int32)  # a loop counts in int64 when x64 is enabled
        largest, total, squares, log_sums, gradient = state
        scores, pull_back = jax.vjp(functools.partial(scores_of, block), values)
        new_largest = jnp.maximum(largest, lax.stop_gradient(jnp.max(scores)))
        # While nothing but -inf has come, 0 serves as the point of reference.
        reference = jnp.where(jnp.isfinite(new_largest), new_largest, 0)
        weights = jnp.exp(scores - reference)
        shrink = jnp.exp(largest - reference)
        block_total = jnp.sum(weights)
        if with_gradient:
            (shares,) = pull_back(weights)
            pairs = zip(gradient, shares, strict=True)
            gradient = [g * shrink.astype(g.dtype) + d.astype(g.dtype) for g, d in pairs]
        return (
            new_largest,
            total * shrink + block_total,
            squares * shrink**2 + jnp.sum(weights * weights),
            log_sums.at[block].set(_log(block_total) + reference),
            gradient,
        )

    nothing = jnp.zeros((), dtype)
    state = (
        jnp.full((), -jnp.inf, dtype),
        nothing,
        nothing,
        jnp.full((num_blocks,), -jnp.inf, dtype),
        [jnp.zeros(x.shape, wide_dtype(x.dtype)) for x in values] if with_gradient else [],
    )
    if enough is None:
        visited = jnp.int32(num_blocks)
        state = lax.fori_loop(0, num_blocks, visit, state)
    else:
        visited, state = lax.while_loop(
            lambda loop: (loop[0] < num_blocks) & ~enough(inputs[1][1], loop[1][3], loop[0]),
            lambda loop: (loop[0] + 1, visit(*loop)),
            (jnp.int32(0), state),
        )
    largest, total, squares, log_sums, gradient = state
    reference = jnp.where(jnp.isfinite(largest), largest, 0)
    gradient = [g / jnp.where(total == 0, 1, total).astype(g.dtype) for g in gradient]
    stream = Stream(_log(total) + reference, _log(squares) + 2 * reference, log_sums, visited)
    return stream, gradient


def _log(total):
    """Returns log(total), -inf at 0 without a NaN in its gradient."""
    empty = total == 0
    return jnp.where(empty, -jnp.inf, jnp.log(jnp.where(empty, 1, total)))


def _is_float(x):
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)


def _zero_tangent(x):
    if _is_float(x):
        return jnp.zeros_like(x)
    return np.zeros(jnp.shape(x), jax.dtypes.float0)
