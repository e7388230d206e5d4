"""What is not finite has no score: NaN would be taken for the largest, and for the first class."""

from collections.abc import Callable, Mapping

import numpy as np


class NonFiniteError(ArithmeticError):
    """What is trained on or scored, or what comes of it, is NaN or infinite."""


def check_finite(arrays: Mapping[str, np.ndarray], about: Callable[[int], str]) -> None:
    """Checks the numbers of every example.

    Args:
      arrays: {what the numbers are: [N, ...]}.
      about: function from a row to text: which example that is, and what to do.

    Raises:
      NonFiniteError: a number is NaN or infinite.
    """
    for name, array in arrays.items():
        finite = np.isfinite(array)
        if not finite.all():
            first = tuple(np.argwhere(~finite)[0])
            raise NonFiniteError(
                f"Expected finite {name}, got {array[first]} for {about(int(first[0]))}"
            )
