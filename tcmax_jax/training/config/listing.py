"""A configuration as a list of its fields: path, value, type, default, meaning."""

import dataclasses
import inspect
import json
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from tcmax_jax.section import hints, is_family, type_text
from tcmax_jax.training.config.tree import plain

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
    meanings = _meanings(type(section))
    for field in dataclasses.fields(section):
        value, hint = getattr(section, field.name), hints(type(section))[field.name]
        full_path = path + field.name
        if dataclasses.is_dataclass(value):
            yield from fields_of(value, f"{full_path}.", _kinds(hint))
        elif isinstance(value, Mapping) and any(map(dataclasses.is_dataclass, value.values())):
            for name, each in value.items():
                yield from fields_of(each, f"{full_path}.{name}.", _kinds(hint))
        else:
            choice = Literal[kinds] if kinds and field.name == "kind" else hint
            meaning = meanings.get(field.name, "")
            yield FieldInEffect(full_path, value, type_text(choice), _default_text(field), meaning)


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


def _kinds(hint) -> tuple[str, ...]:
    """Returns the kinds that an annotation allows; none if it allows no choice."""
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is dict:
        hint = typing.get_args(hint)[1]
    return tuple(hint.members()) if is_family(hint) else ()


def _meanings(section: type) -> dict[str, str]:
    """Returns {field: text} from the attributes that a class and its bases document."""
    meanings = {}
    for cls in reversed(section.__mro__):
        _, _, attributes = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
        for entry in re.split(r"\n  (?=\w+: )", "\n" + attributes):
            name, _, text = entry.strip().partition(": ")
            meanings[name] = " ".join(text.split())
    return meanings


def _default_text(field) -> str | None:
    if field.default is not dataclasses.MISSING:
        return _json(field.default)
    factory = field.default_factory
    return None if factory is dataclasses.MISSING else _json(factory())


def _json(value) -> str:
    return json.dumps(plain(value))
