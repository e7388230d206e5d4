"""The examples of the docstrings run, and every public name has a docstring of its own."""

import ast
import doctest
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest

import tcmax_jax

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(tcmax_jax.__path__, "tcmax_jax.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def undocumented(tree, prefix=""):
    """Yields the names of public functions, classes and their methods without a docstring.

    Read from the source, since an object without a docstring of its own shows an inherited one:
    that of nn.Module, or what dataclasses and named tuples make up.
    """
    for node in tree.body:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        if not isinstance(node, kinds) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node, f"{prefix}{node.name}.")


@pytest.mark.parametrize("name", MODULES)
def test_public_names_have_docstrings(name):
    # Not by the module: that of a recipe says it is the recipe's file.
    tree = ast.parse(Path(importlib.util.find_spec(name).origin).read_text())
    assert ast.get_docstring(tree)
    assert not list(undocumented(tree))


def test_what_inherits_a_docstring_is_undocumented():
    source = """
class Documented(NamedTuple):
    "One."
    x: int

    def bare(self): ...
    def _private(self): ...
    class Inner: ...

class Bare(nn.Module):
    def __call__(self): ...

def function(): ...
class _Private: ...
"""
    expected = ["Documented.bare", "Documented.Inner", "Bare", "function"]
    assert list(undocumented(ast.parse(source))) == expected
