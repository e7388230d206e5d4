"""Experiment files, overrides of single fields, and configurations as JSON."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

import pydantic

from tcmax_jax.training.config import Config
from tcmax_jax.training.config.method import label

_SECTIONS_OF_SEVERAL_KINDS = ("data", "input", "encoder", "method")
_FORMS = "stored"  # holds a section of several kinds for each modality


class ConfigError(ValueError):
    """A configuration that cannot be: says which field, what was expected, what came."""


def load_experiment(path: str | None) -> Config:
    """Returns the configuration of an experiment file, or the default one.

    Args:
      path: a Python file with a function `config()` that returns a `Config`; None for the default.

    Raises:
      ConfigError: no such file, no such function, or another result.
    """
    if path is None:
        return Config()
    if not Path(path).is_file():
        raise ConfigError(
            f"Expected an experiment file, got {path}, which is not there. Recipes lie in "
            "experiments/, each a Python file with a function config()."
        )
    spec = importlib.util.spec_from_file_location("experiment", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.config() if hasattr(module, "config") else None
    except pydantic.ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from error
    if not isinstance(config, Config):
        raise ConfigError(
            f"Expected {path} to have a function config() that returns a Config, "
            f"got {type(config).__name__}."
        )
    return config


def override(config, overrides: Mapping[str, str]):
    """Returns `config` with single fields replaced.

    Args:
      config: the configuration to start from, a `Config` or any section by itself.
      overrides: {path: text}, such as {"optimizer.learning_rate": "0.1"}. The text is JSON if it
        can be read so (numbers, true, null, [32, 32]), and a string otherwise. Choosing another
        `kind` of a section (`name` of the method) starts that section from its defaults. In a list
        of methods, a name chooses all of that name in `config`, and a label the one that has it.

    Raises:
      ConfigError: a path or a value that does not fit.
    """
    tree = to_dict(config)
    restarted = []
    # Kinds first, since they decide which other fields there are.
    for path, text in sorted(overrides.items(), key=lambda item: not _is_kind(item[0])):
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise ConfigError(
                f"Expected the path of a field, such as optimizer.learning_rate, got {path!r}. "
                f"The sections are {', '.join(tree)}."
            )
        if _is_kind(path) and node.get(name) != text:
            node.clear()
            restarted.append(parents)
        elif name not in node and parents not in (["modalities"], ["data", _FORMS], *restarted):
            raise ConfigError(
                f"Expected a field of {'.'.join(parents) or 'the configuration'} "
                f"({', '.join(node)}), got {name!r}."
            )
        value = _parse(text)
        if path == "comparison.methods":
            value = _named(value, config.comparison.methods)
        node[name] = value
    return from_dict(tree, type(config))


def from_dict(tree: Mapping, section: type = Config):
    """Returns the configuration that `to_dict` (or a JSON file) describes.

    Args:
      tree: plain data.
      section: the class of the result.

    Raises:
      ConfigError: it describes none.
    """
    try:
        return pydantic.TypeAdapter(section).validate_python(tree)
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error)) from error
    except OverflowError as error:
        raise ConfigError(
            f"Invalid configuration: expected numbers of usual size, got one too large ({error})."
        ) from error


def to_dict(config) -> dict:
    """Returns a configuration, whole or a section, as plain data that JSON can hold."""
    return pydantic.TypeAdapter(type(config)).dump_python(config, mode="json")


def differences(before: Mapping, after: Mapping, path: str = "") -> list[str]:
    """Returns a line `path: before -> after` for each field in which two dictionaries differ."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{path}{name}.")
        elif old != new:
            lines.append(f"{path}{name}: {old} -> {new}")
    return lines


def explain(error: pydantic.ValidationError) -> str:
    """Returns a line for each field that does not fit: path, expectation, what came."""
    lines = []
    for item in error.errors():
        # Behind a section of several kinds pydantic names the kind, which is no part of the path.
        loc = (None, None, *item["loc"])
        parts = [
            str(part)
            for above, before, part in zip(loc, loc[1:], item["loc"], strict=False)
            if before not in _SECTIONS_OF_SEVERAL_KINDS and above != _FORMS
        ]
        path = ".".join(parts) or "configuration"
        # For those two, what came is all the arguments of the section, or not there.
        got = "" if item["type"] in ("value_error", "missing") else f", got {item['input']!r}"
        lines.append(f"{path}: {item['msg'].removeprefix('Value error, ')}{got}")
    return "Invalid configuration:\n  " + "\n  ".join(lines)


def _is_kind(path):
    return path.endswith(".kind") or path == "method.name"


def _parse(text):
    try:
        return json.loads(text)
    # Also numbers of too many digits, and brackets in too many brackets.
    except (ValueError, RecursionError):
        return text


def _named(choice, methods):
    """Returns `choice` with names and labels replaced by those methods, or by their defaults."""
    if not isinstance(choice, list):
        return choice
    chosen = []
    for x in choice:
        known = [to_dict(m) for m in methods if x in (m.name, label(m))]
        chosen += known or [{"name": x} if isinstance(x, str) else x]
    return chosen
