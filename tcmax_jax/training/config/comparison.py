"""Configuration sections of comparisons and studies."""

import dataclasses
from typing import Annotated, Any

from tcmax_jax.evaluation.reports.studies import point_folder
from tcmax_jax.methods import MethodOptions
from tcmax_jax.models.fusion import Concat, HeadOptions
from tcmax_jax.section import Limits, Section, SectionError, Seed, section


def all_methods() -> tuple[MethodOptions, ...]:
    """Returns every method with its defaults."""
    return tuple(MethodOptions.of_kind(kind) for kind in MethodOptions.members())


@section
class Comparison(Section):
    """What --mode=compare trains and compares.

    Attributes:
      methods: sections `method`, each with its own options; a name may come again with others.
      fusions: heads; a method that can train none of them takes one that it can.
      seeds: seeds of each pair of a method and a head.
    """

    methods: Annotated[tuple[MethodOptions, ...], Limits(min_length=1)] = dataclasses.field(
        default_factory=all_methods
    )
    fusions: Annotated[tuple[HeadOptions, ...], Limits(min_length=1)] = (Concat(),)
    seeds: Annotated[tuple[Seed, ...], Limits(min_length=1)] = (0, 1, 2)

    def check(self):
        """Raises SectionError where a value is repeated."""
        for name, values in (
            ("methods", [method.label() for method in self.methods]),
            ("fusions", [head.label() for head in self.fusions]),
            ("seeds", self.seeds),
        ):
            if len(set(values)) < len(values):
                raise SectionError(f"comparison.{name} names each one once, got {list(values)}")


@section
class Study(Section):
    """What --mode=study varies.

    Attributes:
      field: path of a field of the configuration. With one of the method, `method` alone is trained
        (on the fusions and seeds of the comparison); with any other all of the comparison.
      values: its values.
    """

    field: str | None = None
    values: tuple[Any, ...] = ()

    def check(self):
        """Raises SectionError where there are no values, or a value is repeated."""
        texts = [point_folder("", value) for value in self.values]
        if self.field and not texts:
            raise SectionError(f"study.values has values of {self.field}, got none")
        if len(set(texts)) < len(texts):
            raise SectionError(f"study.values names each one once, got {list(self.values)}")
