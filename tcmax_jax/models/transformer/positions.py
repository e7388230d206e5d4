"""Position embeddings of a grid of patches, interpolated to another grid."""

import math

import numpy as np


def resize_positions(
    positions: np.ndarray,
    old: tuple[int, int | None] | None,
    new: tuple[int, int],
    method: str,
) -> np.ndarray:
    """Interpolates position embeddings as PyTorch does without antialiasing or aligned corners.

    Args:
      positions: [R * C, D], row by row, for a grid of R rows and C columns.
      old: R and C; a C of None follows from the number of positions, and None stands for a square.
      new: rows and columns of the result.
      method: "bicubic", as ViT, DeiT and CLIP in Hugging Face's transformers, or "bilinear", as
        the code of AST.

    Returns:
      [rows * columns, D] float32; the positions themselves where the grids are equal.

    Raises:
      ValueError: another number of positions than in the old grid.
    """
    side = math.isqrt(len(positions))
    rows, columns = old or (side, side)
    columns = columns or len(positions) // rows
    if rows * columns != len(positions):
        raise ValueError(
            f"Expected positions of {rows} x {columns} patches, got {len(positions)}. Set "
            "weights_grid to the rows and columns of patches that the weights were trained with."
        )
    if (rows, columns) == new:
        return positions
    kernel = {"bicubic": _cubic, "bilinear": _linear}[method]
    by_row = _interpolation(rows, new[0], kernel)
    by_column = _interpolation(columns, new[1], kernel)
    grid = positions.reshape(rows, columns, -1)
    resized = np.einsum("ij,kl,jld->ikd", by_row, by_column, grid)
    return resized.reshape(math.prod(new), -1).astype(np.float32)


def _interpolation(old, new, kernel):
    """Returns the matrix [new, old] of an interpolation along one axis, with repeated borders."""
    at = (np.arange(new) + 0.5) * old / new - 0.5
    matrix = np.zeros((new, old))
    for offset in (-1, 0, 1, 2):
        neighbour = np.floor(at).astype(int) + offset
        index = np.arange(new), np.clip(neighbour, 0, old - 1)
        np.add.at(matrix, index, kernel(np.abs(at - neighbour)))
    return matrix


def _linear(distance):
    return np.maximum(1 - distance, 0)


def _cubic(distance, a=-0.75):
    """Returns the cubic convolution of Keys (1981) with PyTorch's value of its parameter."""
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))
