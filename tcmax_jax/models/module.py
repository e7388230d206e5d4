"""Encoders made of any Flax module, Linen or NNX."""

import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

from tcmax_jax.models.encoder import EncoderOptions, PretrainedOptions
from tcmax_jax.section import SectionError, section

_SUPPLIED = ("dtype", "axis_name", "rngs", "parent", "name")  # by the run, not by a configuration
_PLAIN = (bool, int, float, str)


def encoder_of(
    module: Callable,
    kind: str | None = None,
    *,
    names: Callable | Mapping[str, str] | None = None,
    initial: Callable | None = None,
) -> type[EncoderOptions]:
    """Returns the options of encoders that are modules of a class, or made by a function.

    What the class or function takes as numbers, text, true or false, or tuples of these, with an
    annotation, become fields of the options, and so of the configuration. If it takes `dtype` or
    `axis_name`, it gets that of the run; NNX modules get `rngs`. Modules are called with
    (x, train), x being the input or a `tcmax_jax.series.Series`, and give [B, D]; or [B, T, D], or
    that with a mask [B, T] of bool, of which the mean over T is taken. They may have batch
    statistics, and use the random stream "dropout" in training.

    Args:
      module: class of Linen or NNX modules, or a function that returns one.
      kind: its name in a configuration; that of the class or function if None.
      names: where the arrays of a file of weights belong, in which "params/Dense_0/kernel" is a
        path: {name in the file: path}, or a function (name, array) -> (path, array) or None for
        those to leave out. If None, names are paths, with dots or slashes.
      initial: function (variables, modality) -> variables, from those drawn at random,
        {"params": .., "batch_stats": ..}, to those to start from.

    Raises:
      SectionError: it needs an argument that no configuration can hold.

    Example:
      >>> class Mean(nn.Module):
      ...     size: int = 8
      ...     @nn.compact
      ...     def __call__(self, x, train):
      ...         return nn.Dense(self.size)(x.mean(axis=1))
      >>> MeanEncoder = encoder_of(Mean)
      >>> MeanEncoder(size=4)
      Mean(kind='Mean', weights=None, weights_prefix=None, size=4)
    """
    kind = kind or module.__name__
    fields = _fields(module, kind)
    taken = _parameters(module)

    def make(self, dtype=jnp.float32, axis_name=None):
        options = {name: getattr(self, name) for name in fields}
        run = {"dtype": dtype, "axis_name": axis_name}
        options |= {name: value for name, value in run.items() if name in taken}
        if "rngs" in taken:
            return FromNNX(lambda rngs: module(**options, rngs=rngs))
        return module(**options)

    def variables(self, arrays, prefix, shape):
        inside = {n.removeprefix(prefix): x for n, x in arrays.items() if n.startswith(prefix)}
        return _placed(inside, names)

    def initial_variables(self, variables, modality, shape):
        variables = PretrainedOptions.initial(self, variables, modality, shape)
        return initial(variables, modality) if initial else variables

    body = {
        "__annotations__": {"kind": Literal[kind], **{n: hint for n, (hint, _) in fields.items()}},
        # Of the file that calls, as in namedtuple: whoever reads a configuration needs that file.
        "__module__": sys._getframe(1).f_globals["__name__"],
        "__doc__": inspect.getdoc(module) or kind,
        "kind": kind,
        "source": staticmethod(module),
        "make": make,
        "variables": variables,
        "initial": initial_variables,
    }
    needed = inspect.Parameter.empty
    body |= {name: default for name, (_, default) in fields.items() if default is not needed}
    return section(types.new_class(kind, (PretrainedOptions,), {}, lambda ns: ns.update(body)))


class FromNNX(nn.Module):
    """An NNX module as a Linen module (x, train).

    Its parameters lie under "module" in "params", all other state but random streams under "module"
    in "batch_stats". In training its random streams start from the stream "dropout".

    Attributes:
      make: function of `nnx.Rngs` that returns the NNX module.
    """

    make: Callable

    @nn.compact
    def __call__(self, x, train: bool):
        """Calls the module with (x, train)."""
        abstract = nnx.eval_shape(lambda: self.make(nnx.Rngs(0)))
        graph, params, streams, state = _split(abstract)

        def drawn(key, number):
            return _plain(_split(self.make(nnx.Rngs(key)))[number])

        own_params = self.param("module", lambda key: drawn(key, 1))
        has_state = bool(jax.tree.leaves(state))
        if has_state:
            own_state = self.variable(
                "batch_stats", "module", lambda: drawn(self.make_rng("params"), 3)
            )
            _fill(state, own_state.value)
        _fill(params, own_params)
        module = nnx.merge(graph, params, self._started(streams, train), state)
        output = module(x, train)
        if has_state and self.is_mutable_collection("batch_stats"):
            own_state.value = _plain(_split(module)[3])
        return output

    def _started(self, streams, train):
        """Returns random streams, each with its own key."""
        key = self.make_rng("dropout") if train and self.has_rng("dropout") else jax.random.key(0)
        flat = nnx.to_flat_state(streams)
        values = {
            path: variable.replace(
                jax.random.fold_in(key, number)
                if isinstance(variable, nnx.RngKey)
                else jnp.zeros((), jnp.uint32)
            )
            for number, (path, variable) in enumerate(flat)
        }
        return nnx.from_flat_state(values)


def _split(module):
    """Returns (graph, parameters, random streams, all other state) of an NNX module."""
    return nnx.split(module, nnx.Param, nnx.RngState, ...)


def _plain(state) -> dict:
    """Returns a state as nested dictionaries with text keys, as checkpoints need."""

    def text(tree):
        return {str(k): text(v) for k, v in tree.items()} if isinstance(tree, dict) else tree

    return text(nnx.to_pure_dict(state))


def _fill(state, plain: Mapping) -> None:
    """Puts arrays of `_plain` into a state."""

    def like(tree, values):
        if isinstance(tree, dict):
            return {k: like(v, values[str(k)]) for k, v in tree.items()}
        return values

    nnx.replace_by_pure_dict(state, like(nnx.to_pure_dict(state), plain))


def _fields(module, kind) -> dict[str, tuple]:
    """Returns {name: (annotation, default)} of arguments that a configuration can hold."""
    hints = typing.get_type_hints(module if _is_linen(module) else _called(module))
    fields = {}
    for name, parameter in _parameters(module).items():
        if name in _SUPPLIED:
            continue
        hint = hints.get(name, Any)
        if _can_hold(hint):
            fields[name] = hint, parameter.default
        elif parameter.default is inspect.Parameter.empty:
            raise SectionError(
                f"{kind}: Expected arguments that a configuration can hold (numbers, text, true or "
                f"false, tuples of these, each with an annotation), got {name}: {hint}. Give it a "
                "default, or pass a function that fills it in."
            )
    return fields


def _parameters(module) -> Mapping[str, inspect.Parameter]:
    """Returns the parameters of a class's constructor, or of a function."""
    parameters = dict(inspect.signature(_called(module)).parameters)
    if isinstance(module, type):
        del parameters["self"]
    return parameters


def _called(module):
    # The signature of a class of NNX itself is that of its metaclass.
    return module.__init__ if isinstance(module, type) else module


def _is_linen(module) -> bool:
    return isinstance(module, type) and issubclass(module, nn.Module)


def _can_hold(hint) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType, tuple):
        return all(each in (type(None), Ellipsis) or _can_hold(each) for each in arguments)
    return origin is Literal or hint in _PLAIN


def _placed(arrays: Mapping[str, np.ndarray], names) -> dict:
    """Returns {"params": .., "batch_stats": ..} of the arrays of a file."""
    variables = {"params": {}, "batch_stats": {}}
    for name, array in arrays.items():
        if callable(names):
            placed = names(name, array)
        elif names is not None:
            placed = (names[name], array) if name in names else None
        else:
            placed = name.replace(".", "/"), array
        if placed is None:
            continue
        path, value = placed
        collection, *parents, leaf = path.split("/")
        if collection not in variables or not (parents or leaf):
            collection, parents = "params", [collection, *parents]
        tree = variables[collection]
        for parent in parents:
            tree = tree.setdefault(parent, {})
        tree[leaf] = np.asarray(value, np.float32)
    return variables
