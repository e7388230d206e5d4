"""Series: inputs of varying length, padded to one length."""

from typing import Any, NamedTuple


class Series(NamedTuple):
    """A batch of series, or one of them without the leading axis.

    Attributes:
      values: [B, L, ...], numbers or ids of tokens; what fills up is zero.
      mask: [B, L] bool, False for what fills up; steps of the series come first.
    """

    values: Any
    mask: Any
