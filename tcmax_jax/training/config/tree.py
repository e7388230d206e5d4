"""Configurations as plain data, in the current and in earlier formats."""

import dataclasses
import difflib
import functools
import hashlib
import inspect
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pydantic

from tcmax_jax.packages import package_of
from tcmax_jax.section import Family, Section, defined, hints, is_family
from tcmax_jax.training.config import Config
from tcmax_jax.upgrade import upgraded

RECIPE_MODULE = "tcmax_jax.loaded_recipe"


class ConfigError(ValueError):
    """An invalid configuration: says which field, what was expected, what was given."""


def from_dict(tree: Mapping, section: type = Config):
    """Returns the configuration from plain data, such as the result of `to_dict` or JSON.

    Args:
      tree: plain data.
      section: the class of the result.

    Raises:
      ConfigError: it describes none.
    """
    try:
        return _adapter(section, defined()).validate_python(
            upgraded(tree) if section is Config else tree
        )
    except pydantic.ValidationError as error:
        raise ConfigError(_explain(error, section)) from error
    except OverflowError as error:
        raise ConfigError(
            f"Invalid configuration: expected numbers of usual size, got one too large ({error})."
        ) from error


def to_dict(config) -> dict:
    """Returns a configuration, whole or a section, as plain data that JSON can hold."""
    return plain(config)


def plain(value):
    """Returns a value of a field as plain data that JSON can hold."""
    if dataclasses.is_dataclass(value):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def is_ours(section: Section) -> bool:
    """Returns whether a section is defined in this package, not in a recipe or another package."""
    module = type(section).__module__
    return module.startswith("tcmax_jax.") and module != RECIPE_MODULE


def definitions(section) -> dict[str, dict[str, str]]:
    """Returns {kind: where it is defined} of family members from outside this package.

    Such as a method in a recipe: whoever reads the configuration has to import that file first.

    Returns:
      {kind: {"file", "sha256": of the file, and of an installed package "package": its name and
      version}}.
    """
    files = {}
    if isinstance(section, Family) and not is_ours(section):
        files[section.kind] = _definition(type(section))
    if dataclasses.is_dataclass(section):
        section = [getattr(section, field.name) for field in dataclasses.fields(section)]
    elif isinstance(section, Mapping):
        section = section.values()
    if not isinstance(section, str) and isinstance(section, Iterable):
        for each in section:
            files |= definitions(each)
    return files


def _definition(cls) -> dict[str, str]:
    try:
        file = Path(inspect.getfile(cls))
    except (TypeError, OSError):  # of a notebook, or of a session of Python
        return {"file": f"the module {cls.__module__}"}
    about = {"file": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    module = getattr(cls, "source", cls).__module__
    if module != RECIPE_MODULE and (package := package_of(module)):
        about["package"] = package
    return about


def is_open(section: type, path: Sequence[str]) -> bool:
    """Returns whether a part of a configuration accepts names of the user's choice."""
    hint = section
    for name in path:
        hint = _below(hint, name)
    return typing.get_origin(_bare(hint)) is dict


@functools.lru_cache(maxsize=8)
def _adapter(section, members):
    """Returns the reader of a section, made again when families have changed."""
    return pydantic.TypeAdapter(section)


def suggestion(name: str, names: Iterable[str]) -> str:
    """Returns a sentence with a similar name, nothing where no name is similar."""
    names = list(names)
    last = {each.rpartition(".")[2]: each for each in reversed(names)}
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
    near = near or difflib.get_close_matches(name.rpartition(".")[2], last, n=1, cutoff=0.7)
    return f" Did you mean {last.get(near[0], near[0])}?" if near else ""


def _explain(error: pydantic.ValidationError, section: type) -> str:
    """Returns a line for each invalid field: path, expectation, given value."""
    lines = []
    items = error.errors()
    # A list is called too short as well where its entries do not fit.
    parents = {item["loc"][:-1] for item in items}
    for item in items:
        if item["type"] == "too_short" and item["loc"] in parents:
            continue
        path = ".".join(_path(section, item["loc"])) or "configuration"
        if item["type"] == "union_tag_invalid":
            kinds = item["ctx"]["expected_tags"].replace("'", "").split(", ")
            kind = item["ctx"]["tag"]
            lines.append(
                f"{path}.kind: Expected one of {', '.join(kinds)}, got {kind!r}."
                f"{suggestion(kind, kinds)}"
            )
            continue
        # For those two, what came is all the arguments of the section, or not there.
        got = "" if item["type"] in ("value_error", "missing") else f", got {item['input']!r}"
        lines.append(f"{path}: {item['msg'].removeprefix('Value error, ')}{got}")
    return "Invalid configuration:\n  " + "\n  ".join(lines)


def _path(section, loc):
    """Yields the names on the path to a field, without the kinds that pydantic inserts."""
    hint = section
    for name in loc:
        if is_family(hint):
            hint = hint.members().get(name)
        else:
            yield str(name)
            hint = _below(hint, name)


def _below(hint, name):
    """Returns the annotation of an entry of another annotation, by name or index."""
    hint = _bare(hint)
    if typing.get_origin(hint) in (dict, tuple):
        return _bare([each for each in typing.get_args(hint) if each is not Ellipsis][-1])
    if is_family(hint):
        return next((hints(m)[name] for m in hint.members().values() if name in hints(m)), None)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _bare(hints(hint).get(name))
    return None


def _bare(hint):
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
