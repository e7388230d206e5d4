"""A toy problem on which every method of the registry trains, on any number of devices."""

import dataclasses
import functools

import jax
import numpy as np
from flax import linen as nn

from tcmax_jax.methods import MethodOptions
from tcmax_jax.models import MLP, HeadOptions, MultimodalClassifier
from tcmax_jax.training import parallel
from tcmax_jax.training.config.run import trainable_heads
from tcmax_jax.training.optimizer import SGD
from tcmax_jax.training.state import init_state
from tcmax_jax.training.step import train_step, training_key

MODALITIES = ("audio", "visual")
B, C, N = 16, 3, 48
MLP_ENCODER = functools.partial(MLP, sizes=(4,))  # compiling is most of the time of a test


def make_batch(number=0, *, batch_size=B, modalities=MODALITIES, where=None):
    """Returns the `number`-th batch of an easy audio and a hard visual, in order of index."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, C, N)
    patterns = rng.normal(size=(len(modalities), C, 6))
    strengths = np.linspace(2.0, 0.7, len(modalities))
    inputs = {
        m: (s * p[labels] + rng.normal(size=(N, 6))).astype(np.float32)
        for m, s, p in zip(modalities, strengths, patterns, strict=True)
    }
    index = (np.arange(batch_size) + number * batch_size) % N
    return {
        "inputs": {m: x[index] for m, x in inputs.items()},
        "label": labels[index].astype(np.int32),
        "where": np.ones(batch_size, bool) if where is None else where,
        "index": index.astype(np.int32),
    }


def make_method(name, modalities=MODALITIES, **options):
    """Returns a method of the registry."""
    return dataclasses.replace(MethodOptions.of_kind(name), **options).make(modalities)


def heads_of(name):
    """Returns the kinds of the heads that a method can train."""
    return trainable_heads(MethodOptions.of_kind(name))


def fusion_for(name):
    """Returns a head that the method can train; concat where it can."""
    heads = heads_of(name)
    return "concat" if "concat" in heads else heads[0]


class NormedEncoder(nn.Module):
    """A layer with batch normalisation over all devices."""

    @nn.compact
    def __call__(self, x, train):
        """Returns [B, 4] features."""
        x = nn.Dense(4)(x)
        return nn.relu(nn.BatchNorm(not train, axis_name=parallel.AXIS_NAME if train else None)(x))


class Problem:
    """A method on the toy problem: its step, and the state before the first one."""

    def __init__(
        self, name, modalities=MODALITIES, fusion=None, config=None, encoder=MLP_ENCODER, **options
    ):
        """Builds model, optimiser and method; warm-up windows are opened from the start."""
        self.method = make_method(name, modalities, **options)
        self.model = MultimodalClassifier(
            {m: encoder() for m in modalities},
            HeadOptions.of_kind(fusion or fusion_for(name)).make(modalities, C),
        )
        config = config or SGD(learning_rate=0.05, weight_decay=1e-3)
        self._optimizer = config.make(config.rate(epochs=1, steps_per_epoch=3))
        self._modalities, self._mapped = modalities, {}
        self.traces = 0
        self.step = functools.partial(
            self._counted_step,
            model=self.model,
            optimizer=self._optimizer,
            method=self.method,
            steps_per_epoch=3,
        )

    def _counted_step(self, *args, **options):
        self.traces += 1
        return train_step(*args, **options)

    def init(self):
        """Returns the state before the first step, of a method that has seen every example."""
        example = make_batch(modalities=self._modalities)["inputs"]
        key = jax.random.key(0)
        state = init_state(self.model, self._optimizer, self.method, N, example, key)
        if not self.method.begin_epoch:
            return state
        everything = make_batch(batch_size=N, modalities=self._modalities)
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        features = self.model.apply(variables, everything["inputs"], method="encode")
        seen = self.method.begin_epoch(state.method_state, features, everything["label"])
        return state._replace(method_state=seen)

    @functools.cached_property
    def state(self):
        """The state before the first step, on the host."""
        return jax.device_get(jax.jit(self.init)())

    def run(self, devices, batches, state=None):
        """Returns (state, [metrics of each step]) after training on `batches`."""
        # Compiling is most of the time of a run.
        key = self.step, tuple(devices)
        if key not in self._mapped:
            self._mapped[key] = parallel.Pmap(devices).train_step(self.step)
        mapped, over = self._mapped[key], parallel.Pmap(devices)
        state = self.state if state is None else state
        state, key = over.replicate((state, training_key(3)))
        metrics = []
        for batch in batches:
            state, values = mapped(state, over.put(batch), key)
            jax.block_until_ready(state)
            metrics.append(over.scalars(values))
        return over.first(state), metrics
