"""The examples of the docstrings run, and every public name has a docstring."""

import doctest
import importlib
import inspect
import pkgutil

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


@pytest.mark.parametrize("name", MODULES)
def test_public_names_have_docstrings(name):
    module = importlib.import_module(name)
    own = [
        member
        for member_name, member in vars(module).items()
        if not member_name.startswith("_") and getattr(member, "__module__", None) == name
    ]
    bare = [m.__qualname__ for m in own if inspect.isroutine(m) or inspect.isclass(m)]
    assert module.__doc__
    assert all(inspect.getdoc(getattr(module, n, module)) for n in bare if "." not in n), bare
