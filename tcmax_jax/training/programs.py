"""Compiled programs of a run, shared by runs of a comparison that differ in their seed alone."""

import contextlib
import contextvars
import functools

import jax
import numpy as np

from tcmax_jax.training.setup import Programs, Setup
from tcmax_jax.training.state import init_state
from tcmax_jax.training.step import encode_step, train_step

# More than there are methods, so that a second seed finds those of the first.
_SHARED_AT_MOST = 16
_SHARED = contextvars.ContextVar("programs that runs share", default=None)


def make_programs(setup: Setup) -> Programs:
    """Returns the programs of a run, not yet compiled."""
    model, optimizer, method = setup.model, setup.optimizer, setup.method
    num_examples = len(setup.dataset.sources["train"])
    step = functools.partial(
        train_step,
        model=model,
        optimizer=optimizer,
        method=method,
        steps_per_epoch=setup.epochs.steps,
        accumulate=setup.config.training.accumulate,
    )
    return Programs(
        initialise=jax.jit(functools.partial(init_state, model, optimizer, method, num_examples)),
        step=setup.parallel.train_step(step),
        encode=setup.parallel.encode_step(functools.partial(encode_step, model=model)),
        apply=jax.jit(model.apply, static_argnames="method"),
        begin_epoch=method.begin_epoch and jax.jit(method.begin_epoch),
    )


def changed(setup: Setup, **parts) -> Setup:
    """Returns a setup with other parts, and with programs made of these."""
    other = setup._replace(**parts)
    return other._replace(programs=make_programs(other))


@contextlib.contextmanager
def shared_programs():
    """Lets runs that are built in its block share equal programs.

    Inside another one it is a part of that. Not without being asked for: what was changed between
    two runs without a new class, as notebooks that load a module again do, would go on as it was.
    """
    if _SHARED.get() is not None:
        yield
        return
    token = _SHARED.set([])
    try:
        yield
    finally:
        _SHARED.reset(token)
        jax.clear_caches()  # which hold what the programs were called with


def programs_of(setup: Setup) -> Programs:
    """Returns the programs of a run: shared ones of an equal run, or new ones."""
    known = _SHARED.get()
    if known is None:
        return make_programs(setup)
    made_of = _made_of(setup)
    # Not a dictionary: sections may hold some, which have no hash. Those used last are at its end.
    for place, (others, programs) in enumerate(known):
        if others == made_of:
            known.append(known.pop(place))
            return programs
    known.append((made_of, make_programs(setup)))
    del known[:-_SHARED_AT_MOST]
    return known[-1][1]


def _made_of(setup):
    """Returns everything that the programs depend on, except the shapes of the data."""
    config, prior = setup.config, setup.method.label_prior
    return (
        config.model,
        config.method,
        config.optimizer,
        config.training.accumulate,
        tuple(config.modalities.items()),  # whose order the head follows
        setup.model.scales,
        setup.model.head.num_classes,
        len(setup.dataset.sources["train"]),
        None if prior is None else np.asarray(prior).tobytes(),
        setup.epochs,
        type(setup.parallel),
        setup.parallel.devices,
    )
