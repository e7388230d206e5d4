"""Experiment files, overrides of single fields, and configurations as JSON."""

import difflib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pydantic

import tcmax_jax
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.method import label

_SECTIONS_OF_SEVERAL_KINDS = ("data", "input", "encoder", "method")
_FORMS = "stored"  # holds a section of several kinds for each modality


class ConfigError(ValueError):
    """A configuration that cannot be: says which field, what was expected, what came."""


def recipes() -> dict[str, Path]:
    """Returns {name: file} of the recipes of this project, in a checkout or installed."""
    package = Path(tcmax_jax.__file__).parent
    folders = [package / "experiments", package.parent / "experiments"]
    files = sorted(file for folder in folders for file in folder.glob("*.py"))
    return {file.stem: file for file in files if "\ndef config()" in file.read_text()}


def load_experiment(experiment: str | None) -> Config:
    """Returns the configuration of an experiment, or the default one.

    Args:
      experiment: the name of one of `recipes`, or the path of a Python file with a function
        `config()` that returns a `Config`; None for the default.

    Raises:
      ConfigError: no such name or file, no such function, or another result.
    """
    if experiment is None:
        return Config()
    path = recipes().get(experiment, Path(experiment))
    if not path.is_file():
        raise ConfigError(
            f"Expected the name of a recipe ({', '.join(recipes())}) or the path of a Python file "
            f"with a function config(), got {experiment!r}, which is neither."
            f"{_suggestion(experiment, recipes())}"
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
        `kind` of a section (`name` of the method) starts that section from its defaults, and
        {"method": "joint"} is short for {"method.name": "joint"}. In a list of methods, a name
        chooses all of that name in `config`, and a label the one that has it.

    Raises:
      ConfigError: a path or a value that does not fit.
    """
    tree = to_dict(config)
    restarted = []
    overrides = {_kind_path(tree, path, text): text for path, text in overrides.items()}
    # Kinds first, since they decide which other fields there are.
    for path, text in sorted(overrides.items(), key=lambda item: not _is_kind(item[0])):
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise ConfigError(
                f"Expected the path of a field, such as optimizer.learning_rate, got {path!r}. "
                f"The sections are {', '.join(tree)}.{_suggestion(path, _paths(tree))}"
            )
        if _is_kind(path) and node.get(name) != text:
            node.clear()
            restarted.append(parents)
        elif name not in node and parents not in (["modalities"], ["data", _FORMS], *restarted):
            raise ConfigError(
                f"Expected a field of {'.'.join(parents) or 'the configuration'} "
                f"({', '.join(node)}), got {name!r}.{_suggestion(path, _paths(tree))}"
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


def _kind_path(tree, path, text):
    """Returns the path of a section's kind for that of the section itself, if `text` is a name."""
    node = tree if isinstance(_parse(text), str) else None
    for name in path.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    if isinstance(node, dict):
        for kind in (f"{path}.kind", f"{path}.name"):
            if _is_kind(kind) and kind.rpartition(".")[2] in node:
                return kind
    return path


def _paths(tree, path="") -> Iterator[str]:
    """Yields the paths of all fields."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def _suggestion(name: str, names: Iterable[str]) -> str:
    """Returns a sentence with what may have been meant, nothing where no name is near."""
    names = list(names)
    last = {each.rpartition(".")[2]: each for each in reversed(names)}
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
    near = near or difflib.get_close_matches(name.rpartition(".")[2], last, n=1, cutoff=0.7)
    return f" Did you mean {last.get(near[0], near[0])}?" if near else ""


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
