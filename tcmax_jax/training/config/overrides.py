"""Experiment files, overrides of single fields, and configurations as JSON."""

import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

import tcmax_jax
from tcmax_jax.packages import install_line
from tcmax_jax.section import SectionError, forget
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.tree import (
    RECIPE_MODULE,
    ConfigError,
    from_dict,
    is_open,
    suggestion,
    to_dict,
)


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
      ConfigError: no such name or file, no such function, or another result, or the file cannot
        be run; names its line.
    """
    if experiment is None:
        return Config()
    path = recipes().get(experiment, Path(experiment))
    if not path.is_file():
        raise ConfigError(
            f"Expected the name of a recipe ({', '.join(recipes())}) or the path of a Python file "
            f"with a function config(), got {experiment!r}, which is neither."
            f"{suggestion(experiment, recipes())}"
        )
    os.environ["TCMAX_JAX_RECIPE"] = str(path.absolute())
    sys.modules.pop(RECIPE_MODULE, None)
    forget(RECIPE_MODULE)
    try:
        module = importlib.import_module(RECIPE_MODULE)
        config = module.config() if hasattr(module, "config") else None
    except SectionError as error:
        raise ConfigError(f"{path}: {error}") from error
    except Exception as error:  # The file is the user's.
        raise ConfigError(_failure(path, error)) from error
    if not isinstance(config, Config):
        raise ConfigError(
            f"Expected {path} to have a function config() that returns a Config, "
            f"got {type(config).__name__}."
        )
    return config


def _failure(path: Path, error: Exception) -> str:
    """Returns the error of an experiment file, and its line."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path.absolute())]
    text, remedy = str(error), "Correct the file."
    if isinstance(error, SyntaxError):
        lines, text = [error.lineno], error.msg
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("tcmax_jax"):
        remedy = f"Run {install_line(error.name)}, or correct the file."
    where = f"{path}, line {lines[-1]}" if lines else str(path)
    return (
        f"{where}: Expected a function config() that returns a Config, got "
        f"{type(error).__name__}: {text}. {remedy}"
    )


def override(config, overrides: Mapping[str, str]):
    """Returns `config` with single fields replaced.

    Args:
      config: the configuration to start from, a `Config` or any section by itself.
      overrides: {path: text}, such as {"optimizer.learning_rate": "0.1"}. The text is JSON if it
        can be read so (numbers, true, null, [32, 32]), and a string otherwise. Choosing another
        `kind` of a section starts that section from its defaults, and {"method": "joint"} is short
        for {"method.kind": "joint"}. In the methods and fusions of a comparison, a kind chooses
        all of that kind in `config`, and a label the one that has it.

    Raises:
      ConfigError: a path or a value that does not fit.
    """
    tree = to_dict(config)
    restarted = []
    overrides = {_kind_path(tree, path, text): text for path, text in overrides.items()}
    # Kinds first, since they decide which other fields there are; outer ones before inner ones.
    for path, text in sorted(overrides.items(), key=lambda item: _urgency(item[0])):
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise ConfigError(
                f"Expected the path of a field, such as optimizer.learning_rate, got {path!r}. "
                f"The sections are {', '.join(tree)}.{suggestion(path, _paths(tree))}"
            )
        if name == "kind" and node.get(name) != text:
            node.clear()
            restarted.append(parents)
        elif name not in node and parents not in restarted and not is_open(type(config), parents):
            # What chooses a method, a head or an encoder was its name in version 0.2.
            renamed = name == "name" and "kind" in node
            meant = ".".join([*parents, "kind"]) if renamed else path
            raise ConfigError(
                f"Expected a field of {'.'.join(parents) or 'the configuration'} "
                f"({', '.join(node)}), got {name!r}.{suggestion(meant, _paths(tree))}"
            )
        value = _parse(text)
        if path in ("comparison.methods", "comparison.fusions"):
            value = _named(value, getattr(config.comparison, name))
        node[name] = value
    return from_dict(tree, type(config))


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


def _kind_path(tree, path, text):
    """Returns the path of a section's kind in place of the section's, if `text` is a name."""
    node = tree if isinstance(_parse(text), str) else None
    for name in path.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return f"{path}.kind" if isinstance(node, dict) and "kind" in node else path


def _urgency(path):
    return (0, path.count(".")) if path.endswith(".kind") else (1, 0)


def _paths(tree, path="") -> Iterator[str]:
    """Yields the paths of all fields."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def _parse(text):
    try:
        return json.loads(text)
    # Also numbers of too many digits, and brackets in too many brackets.
    except (ValueError, RecursionError):
        return text


def _named(choice, sections):
    """Returns `choice` with kinds and labels replaced by their sections."""
    if not isinstance(choice, list):
        return choice
    chosen = []
    for x in choice:
        chosen += [to_dict(each) for each in sections if x in (each.kind, each.label())] or [x]
    return chosen
