"""Sections: classes of options, of which a configuration is made.

A section holds the options of one component, and is defined beside it. Its fields have a type, a
range, a default and a line of the docstring. Components that are chosen by name form a family: the
base class defines their interface, and registers them by their field `kind`. The kind alone is
short for the member with its defaults.
"""

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from tcmax_jax.files import local

section = dataclasses.dataclass(frozen=True, kw_only=True)
_DEFINED = []  # all classes of all families, in the order of their definition
_PRIMITIVES = {str: "text", int: "integer", float: "number", bool: "true or false"}


class SectionError(ValueError):
    """Invalid options: says which field, what was expected, what was given."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """The range of a number, or the least length of a list.

    Attributes:
      gt: what it is greater than.
      ge: its least value.
      lt: what it is less than.
      le: its largest value.
      min_length: the least number of entries.
    """

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    min_length: int | None = None

    def __str__(self):
        """Returns the range as text: "> 0", ">= 0 and <= 1"."""
        signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "min_length": "of at least"}
        texts = {n: f"{x:g}" if x < 10**6 else str(x) for n, x in self._given().items()}
        return " and ".join(f"{signs[name]} {text}" for name, text in texts.items())

    def allows(self, value) -> bool:
        """Returns whether a value lies within them; NaN does not."""
        compare = {
            "gt": lambda limit: value > limit,
            "ge": lambda limit: value >= limit,
            "lt": lambda limit: value < limit,
            "le": lambda limit: value <= limit,
            "min_length": lambda limit: len(value) >= limit,
        }
        return all(compare[name](limit) for name, limit in self._given().items())

    def _given(self):
        return {name: limit for name, limit in vars(self).items() if limit is not None}

    def __get_pydantic_core_schema__(self, source, handler):
        """Lets pydantic check the range where it reads a configuration."""
        # Strict, or true would pass for 1.
        strict = {"strict": True} if source in (int, float) else {}
        return {**handler(source), **strict, **self._given()}


Positive = Annotated[float, Limits(gt=0)]
NonNegative = Annotated[float, Limits(ge=0)]
Fraction = Annotated[float, Limits(ge=0, le=1)]
Count = Annotated[int, Limits(gt=0)]
CountOrZero = Annotated[int, Limits(ge=0)]
Seed = Annotated[int, Limits(ge=0, lt=2**32)]  # of a key of JAX


def absolute(path: str) -> str:
    """Returns an absolute path: a run may be resumed from another folder."""
    return str(local(path).absolute())


FilePath = Annotated[str, absolute]


class Section:
    """Base of all sections; subclasses are decorated by `section`.

    Lists become tuples, so that sections can be compared and hashed.

    Raises:
      SectionError: a value of another type or out of its range, or fields that do not fit together.
    """

    # Numbers in JSON as Python reads it may be NaN or infinite; no field has a use for them.
    __pydantic_config__ = types.MappingProxyType({"extra": "forbid", "allow_inf_nan": False})

    def __post_init__(self):
        """Checks and converts every field, then calls `check`."""
        for name, hint in hints(type(self)).items():
            value = getattr(self, name)
            fitted = _fit(hint, value)
            if fitted is _UNFIT:
                raise SectionError(f"Expected {name}: {type_text(hint)}, got {value!r}.")
            object.__setattr__(self, name, fitted)
        self.check()

    def check(self) -> None:
        """Raises SectionError where fields do not fit together."""


@section
class Family(Section):
    """Base of the base classes of families.

    Attributes:
      kind: names the choice.
    """

    kind: str

    def __init_subclass__(cls):
        """Registers a member."""
        _DEFINED.append(cls)

    @classmethod
    def members(cls) -> dict[str, type]:
        """Returns {kind: class} of all members, in the order of their definition.

        Raises:
          SectionError: two of one kind.
        """
        classes = {}
        for member in (each for each in _DEFINED if issubclass(each, cls)):
            for kind in _kinds(member):
                known = classes.setdefault(kind, member)
                # A file of a user may be read again; what it defines then takes the place.
                if (known.__module__, known.__qualname__) != (
                    member.__module__,
                    member.__qualname__,
                ):
                    raise SectionError(
                        f"Expected one {cls.__name__} of the kind {kind}, got {known.__module__}."
                        f"{known.__qualname__} and {member.__module__}.{member.__qualname__}. "
                        "Give one of them another kind."
                    )
                classes[kind] = member
        return classes

    @classmethod
    def of_kind(cls, kind: str) -> "Family":
        """Returns the member of a kind with its defaults.

        Raises:
          SectionError: there is none.
        """
        members = cls.members()
        if kind not in members:
            raise SectionError(
                f"Expected {cls.__name__}.kind to be one of {', '.join(members)}, got {kind!r}."
            )
        return members[kind](kind=kind)

    def label(self) -> str:
        """Returns the kind with the options that differ from the defaults: mla-projection=owm.

        It depends on nothing but the section itself, so that names of runs do not change with what
        they are compared with, and two sections have the same one only if they are the same.
        """
        options = [f for f in dataclasses.fields(self) if f.name != "kind"]
        changed = [f.name for f in options if getattr(self, f.name) != f.default]
        return "-".join([self.kind, *(f"{name}={getattr(self, name)}" for name in changed)])

    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        """Lets pydantic choose the member by its kind."""
        if _kinds(cls):
            return handler(source)
        choices = {kind: handler.generate_schema(m) for kind, m in cls.members().items()}
        union = {"type": "tagged-union", "discriminator": "kind", "choices": choices}
        named = {"type": "no-info", "function": lambda x: {"kind": x} if isinstance(x, str) else x}
        return {"type": "function-before", "function": named, "schema": union}


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """Returns {field: its annotation} of a section, in order."""
    annotated = typing.get_type_hints(cls, include_extras=True)
    return {field.name: annotated[field.name] for field in dataclasses.fields(cls)}


def defined() -> tuple[type, ...]:
    """Returns all classes of all families so far."""
    return tuple(_DEFINED)


def forget(module: str) -> None:
    """Removes the members of families that a module has defined."""
    _DEFINED[:] = [each for each in _DEFINED if each.__module__ != module]


def is_family(hint) -> bool:
    """Returns whether an annotation allows a choice among the members of a family."""
    return isinstance(hint, type) and issubclass(hint, Family) and not _kinds(hint)


def type_text(hint) -> str:
    """Returns an annotation as text for users, with its range.

    Example:
      >>> type_text(Fraction | None)
      'number >= 0 and <= 1 or null'
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        limits = [str(each) for each in arguments[1:] if isinstance(each, Limits)]
        return " ".join([type_text(arguments[0]), *limits])
    if origin is Literal:
        return " or ".join(map(json.dumps, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(type_text, arguments))
    if origin is tuple:
        inner = [type_text(each) for each in arguments if each is not Ellipsis]
        return f"list of {inner[0]}" if Ellipsis in arguments else f"[{', '.join(inner)}]"
    if origin is dict:
        return f"{{name: {type_text(arguments[1])}}}"
    if hint is type(None):
        return "null"
    if hint is Any:
        return "anything"
    if is_family(hint):
        return f"{hint.__name__} of the kind {', '.join(hint.members())}"
    return _PRIMITIVES.get(hint, f"section {hint.__name__}")


_UNFIT = object()


def _fit(hint, value):
    """Returns the value converted to a field's annotation, `_UNFIT` if that is impossible."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        value = _fit(arguments[0], value)
        for each in arguments[1:]:
            if value is _UNFIT or (isinstance(each, Limits) and not each.allows(value)):
                return _UNFIT
            if callable(each):
                value = each(value)
        return value
    if origin is Literal:
        same = (value == each and type(value) is type(each) for each in arguments)
        return value if any(same) else _UNFIT
    if origin in (typing.Union, types.UnionType):
        fitted = (_fit(each, value) for each in arguments)
        return next((each for each in fitted if each is not _UNFIT), _UNFIT)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return _UNFIT
        each = [arguments[0]] * len(value) if Ellipsis in arguments else arguments
        if len(each) != len(value):
            return _UNFIT
        fitted = tuple(map(_fit, each, value))
        return _UNFIT if any(x is _UNFIT for x in fitted) else fitted
    if origin is dict:
        if not isinstance(value, Mapping):
            return _UNFIT
        fitted = {name: _fit(arguments[1], each) for name, each in value.items()}
        return _UNFIT if any(x is _UNFIT for x in fitted.values()) else fitted
    if hint is Any:
        return value
    if is_family(hint) and isinstance(value, str):
        return hint.of_kind(value)
    if hint in (int, float):
        number = isinstance(value, int if hint is int else int | float)
        if not number or isinstance(value, bool) or not math.isfinite(value):
            return _UNFIT
        return hint(value)
    return value if isinstance(value, hint) else _UNFIT


def _kinds(cls: type) -> tuple[str, ...]:
    """Returns the kinds of a class; none for the base of a family."""
    hint = (
        cls.__annotations__.get("kind") if "kind" in vars(cls).get("__annotations__", {}) else None
    )
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
