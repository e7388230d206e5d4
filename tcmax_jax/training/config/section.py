"""What all sections of the configuration have in common."""

from typing import Annotated

import pydantic
from pydantic import Field

Fraction = Annotated[float, Field(ge=0, le=1)]
section = pydantic.dataclasses.dataclass(
    # JSON as Python reads it knows NaN and Infinity; no field has a use for them.
    frozen=True,
    kw_only=True,
    config=pydantic.ConfigDict(extra="forbid", allow_inf_nan=False),
)
