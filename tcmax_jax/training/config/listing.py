"""A configuration as a list of its fields: path, value, type, default, meaning."""

import dataclasses
import inspect
import json
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import pydantic_core

_WIDTH = 80
_LONGEST = 300  # of a value that is written out


class FieldInEffect(NamedTuple):
    """A field of a configuration.

    Attributes:
      path: as --config.<path>=<value> names it.
      value: its value in effect.
      type: what it may be, as text.
      default: its default, as text; None where it has none.
      meaning: from the docstring of its section.
    """

    path: str
    value: Any
    type: str
    default: str | None
    meaning: str


def fields_of(section, path: str = "", kinds: tuple = ()) -> Iterator[FieldInEffect]:
    """Yields the fields of a configuration, or of a section of it, in the order of the classes.

    Args:
      section: the section.
      path: its own path.
      kinds: the kinds of section that may stand there, which one of its fields names.
    """
    hints = typing.get_type_hints(type(section), include_extras=True)
    meanings = _meanings(type(section))
    for field in dataclasses.fields(section):
        value, own = getattr(section, field.name), f"{path}{field.name}"
        hint = hints[field.name]
        if dataclasses.is_dataclass(value):
            yield from fields_of(value, f"{own}.", _kinds(hint))
        elif isinstance(value, Mapping):
            for name, each in value.items():
                yield from fields_of(each, f"{own}.{name}.", _kinds(hint))
        else:
            choice = Literal[kinds] if kinds and field.name == _kind_field(type(section)) else hint
            meaning = meanings.get(field.name, "")
            yield FieldInEffect(own, value, _type_text(choice), _default_text(field), meaning)


def list_fields(config) -> str:
    """Lays out the fields of a configuration, with what differs from the defaults marked by *."""
    lines = ["field = value (* where it is not the default), its type, default and meaning", ""]
    for field in fields_of(config):
        text = _json(field.value)
        changed = field.default is not None and text != field.default
        text = textwrap.shorten(text, _LONGEST, placeholder=" ...")
        lines += textwrap.wrap(
            f"{'* ' if changed else '  '}{field.path} = {text}",
            _WIDTH,
            subsequent_indent=" " * 6,
            break_on_hyphens=False,
        )
        default = "none" if field.default is None else field.default
        default = textwrap.shorten(default, _LONGEST, placeholder=" ...")
        about = f"{field.type}; default {default}. {field.meaning}"
        lines += textwrap.wrap(
            about,
            _WIDTH,
            initial_indent=" " * 6,
            subsequent_indent=" " * 6,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _kinds(hint) -> tuple:
    """Returns the kinds of the sections that an annotation allows, where there are several."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _kinds(arguments[0])
    if origin is dict:
        return _kinds(arguments[1])
    if origin not in (typing.Union, types.UnionType):
        return ()
    if not all(map(dataclasses.is_dataclass, arguments)):
        return ()
    choices = [typing.get_type_hints(each)[_kind_field(each)] for each in arguments]
    return tuple(kind for choice in choices for kind in typing.get_args(choice))


def _kind_field(section: type) -> str:
    names = {field.name for field in dataclasses.fields(section)}
    return "kind" if "kind" in names else "name"


def _meanings(section: type) -> dict[str, str]:
    """Returns {field: text} from the attributes that a class and its bases document."""
    meanings = {}
    for cls in reversed(section.__mro__):
        _, _, attributes = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
        for entry in re.split(r"\n  (?=\w+: )", "\n" + attributes):
            name, _, text = entry.strip().partition(": ")
            meanings[name] = " ".join(text.split())
    return meanings


def _type_text(hint) -> str:
    """Returns a type annotation as people write it, with its range."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        limits = [_limit_text(each) for each in arguments[1:]]
        return " ".join(filter(None, [_type_text(arguments[0]), *limits]))
    if origin is Literal:
        return " or ".join(map(_json, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_type_text, arguments))
    if origin is tuple:
        inner = [_type_text(each) for each in arguments if each is not Ellipsis]
        return f"list of {inner[0]}" if Ellipsis in arguments else f"[{', '.join(inner)}]"
    if hint is type(None):
        return "null"
    if hint is Any:
        return "anything"
    return {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}.get(
        hint.__name__, f"section {hint.__name__}"
    )


def _limit_text(limit) -> str:
    """Returns what a constraint of an annotated type says, such as `> 0`."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    entries = [limit, *getattr(limit, "metadata", ())]
    texts = [
        f"{signs[name]} {getattr(entry, name)}"
        for entry in entries
        for name in signs
        if getattr(entry, name, None) is not None
    ]
    return " and ".join(texts)


def _default_text(field) -> str | None:
    if field.default is not dataclasses.MISSING:
        # A section of pydantic may hold the whole description of a field in place of its default.
        default = field.default
        if hasattr(default, "get_default"):
            default = default.get_default(call_default_factory=True)
            if default is pydantic_core.PydanticUndefined:
                return None
        return _json(default)
    return _json(field.default_factory()) if callable(field.default_factory) else None


def _json(value) -> str:
    return json.dumps(pydantic_core.to_jsonable_python(value))
