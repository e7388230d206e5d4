"""The sections of a configuration that say what many runs have in turn."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, NonNegativeInt

from tcmax_jax.evaluation.reports.studies import point_folder
from tcmax_jax.models.fusion import FUSIONS
from tcmax_jax.training.config.method import ALL_METHODS, Method, label
from tcmax_jax.training.config.section import section


@section
class Comparison:
    """What --mode=compare trains beside each other.

    Attributes:
      methods: sections `method`, each with its own options; a name may come again with others.
      fusions: heads; a method that can train none of them takes one that it can.
      seeds: seeds of each pair of a method and a head.
    """

    methods: Annotated[
        tuple[Annotated[Method, Field(discriminator="name")], ...], Field(min_length=1)
    ] = ALL_METHODS
    fusions: Annotated[tuple[Literal[tuple(FUSIONS)], ...], Field(min_length=1)] = ("concat",)
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0, 1, 2)

    @pydantic.model_validator(mode="after")
    def _check_repetition(self):
        for name, values in (
            ("methods", [label(method) for method in self.methods]),
            ("fusions", self.fusions),
            ("seeds", self.seeds),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"comparison.{name} names each one once, got {list(values)}")
        return self


@section
class Study:
    """What --mode=study changes.

    Attributes:
      field: path of a field of the configuration. With one of the method, `method` alone is trained
        (on the fusions and seeds of the comparison); with any other all of the comparison.
      values: its values.
    """

    field: str | None = None
    values: tuple[Any, ...] = ()

    @pydantic.model_validator(mode="after")
    def _check_values(self):
        texts = [point_folder("", value) for value in self.values]
        if self.field and not texts:
            raise ValueError(f"study.values has values of {self.field}, got none")
        if len(set(texts)) < len(texts):
            raise ValueError(f"study.values names each one once, got {list(self.values)}")
        return self
