"""Checks for values that are not finite: NaN would win an argmax, so it is never scored."""

from collections.abc import Callable, Mapping

import numpy as np


class NonFiniteError(ArithmeticError):
    """NaN or infinite values in inputs, losses or scores."""


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
