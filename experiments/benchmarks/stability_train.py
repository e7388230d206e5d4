"""Data, model and whole training runs of experiments/benchmarks/stability.py.

A run is one compiled function of (learning rate, seed): all data lie on the device, each epoch is a
`lax.scan` over a fresh permutation, and nothing waits for a pipeline. Losses, encoders, heads and
the update rule are the library's own.
"""

import dataclasses
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from tcmax_jax import methods
from tcmax_jax.data.datasets import open_dataset
from tcmax_jax.data.pictures import decode_image
from tcmax_jax.data.sources.synthetic import SyntheticData
from tcmax_jax.losses import AdditiveHead
from tcmax_jax.models import MLP, MultimodalClassifier, head_of
from tcmax_jax.models.fusion import ConcatHead
from tcmax_jax.step_bound import bound_decrease
from tcmax_jax.training.optimizer import SGD

MODALITIES = ("audio", "visual")
MOMENTUM = SGD().momentum
SIZES = (128, 64)
_BOUNDS = ("nat", "gap", "half")


class Data(NamedTuple):
    """Two splits of standardised features on the device.

    Attributes:
      train: ({modality: [N, D]}, labels [N]).
      test: the same.
      num_classes: C.
    """

    train: tuple
    test: tuple
    num_classes: int


@dataclasses.dataclass(frozen=True)
class Setting:
    """What distinguishes a run beside its data, learning rate and seed.

    Attributes:
      loss: joint, unimodal or tcmax.
      batch_size: B.
      normalised: whether layer normalisation (without scale and shift) ends the encoders.
      head: initial kernel of the head: "random" (LeCun normal), "small" (that over sqrt(D)) or
        "zero", as in the library.
      clip: nothing; "norm" (global norm 1); "adaptive" (unit-wise, 0.01 of the parameter's norm);
        "row" (no row's cotangent larger than cross-entropy's bound 2 / B: biased); "nat", "gap"
        and "half" (`bound_decrease` to 1 nat, to what the loss can still fall, to half of it).
      num_negatives: of TCMax; None for all tuples.
      warmup: whether the rate rises linearly over the first epoch.
      epochs: passes over the training split.
    """

    loss: str
    batch_size: int = 64
    normalised: bool = False
    head: str = "random"
    clip: str = ""
    num_negatives: int | str | None = None
    warmup: bool = False
    epochs: int = 20


class Encoder(nn.Module):
    """The library's MLP, with layer normalisation of its feature or without."""

    normalised: bool

    @nn.compact
    def __call__(self, x, train):
        """Maps [B, D] to [B, SIZES[-1]]."""
        z = MLP(SIZES)(x, train)
        return nn.LayerNorm(use_bias=False, use_scale=False)(z) if self.normalised else z


def grid_data(folder, sound_noise=0.0) -> Data:
    """Returns small word features of a prepared GRID folder.

    Sound: the log-spectrogram averaged to 32 x 16; mouth: three grey pictures of 20 x 20.

    Args:
      folder: folder of the prepared set, see experiments/grid.py.
      sound_noise: standard deviation of Gaussian noise on the standardised sound.
    """
    dataset = open_dataset(folder, MODALITIES)

    def grey(image):
        image = cv2.cvtColor(decode_image(image), cv2.COLOR_RGB2GRAY)
        return cv2.resize(image, (20, 20), interpolation=cv2.INTER_AREA)

    def read(split):
        records = list(dataset.sources[split])
        sound = [cv2.resize(np.float32(r["audio"]), (16, 32), interpolation=3) for r in records]
        mouth = [[grey(image) for image in r["visual"]] for r in records]
        return {"audio": sound, "visual": mouth}, [r["label"] for r in records]

    return _standardise(read("train"), read("test"), len(dataset.class_names), sound_noise)


def synthetic_data() -> Data:
    """Returns the built-in set at the project's default sizes, flattened."""
    source, splits = SyntheticData(), []
    for name in ("train", "test"):
        examples = source.arrays(name)
        splits.append(({m: examples[m] for m in MODALITIES}, examples["label"]))
    return _standardise(*splits, source.num_classes, 0.0)


def _standardise(train, test, num_classes, sound_noise):
    rng = np.random.default_rng(0)
    splits = []
    for inputs, labels in (train, test):
        scaled = {}
        for m in MODALITIES:
            flat, seen = (np.float32(x[m]).reshape(len(x[m]), -1) for x in (inputs, train[0]))
            scaled[m] = (flat - seen.mean(axis=0)) / (seen.std(axis=0) + 1e-3)
        scaled["audio"] += sound_noise * rng.normal(size=scaled["audio"].shape)
        inputs = {m: jnp.asarray(x, jnp.float32) for m, x in scaled.items()}
        splits.append((inputs, jnp.asarray(labels, jnp.int32)))
    return Data(*splits, num_classes)


@jax.custom_vjp
def bound_rows(logits):
    """Returns `logits`, [B, C]; backwards no row's cotangent exceeds 2 / B in the 1-norm.

    2 / B is what softmax cross-entropy can send to a row at most. Biased.
    """
    return logits


def _bound_rows_backward(_, cotangent):
    norm = jnp.sum(jnp.abs(cotangent), axis=1, keepdims=True)
    return (cotangent * jnp.minimum(1, 2 / len(cotangent) / jnp.maximum(norm, 1e-30)),)


bound_rows.defvjp(lambda logits: (logits, None), _bound_rows_backward)


def allowed_decrease(setting, loss, floor):
    """Returns the decrease of the loss that a step may promise, in nats.

    Args:
      setting: a `Setting`.
      loss: of the batch.
      floor: a number below it: what the method states (see `tcmax_ceiling`), or 0.
    """
    if setting.clip == "nat":
        return jnp.ones(())
    return (loss - floor) * (0.5 if setting.clip == "half" else 1.0)


class Trainer:
    """The functions of one setting on one data set.

    Attributes:
      steps_per_epoch: steps in an epoch; a remainder is left out.
    """

    def __init__(self, data: Data, setting: Setting):
        self._data, self._setting = data, setting
        self._model = MultimodalClassifier(
            {m: Encoder(setting.normalised) for m in MODALITIES},
            ConcatHead(MODALITIES, data.num_classes),
        )
        options = {"num_negatives": setting.num_negatives} if setting.loss == "tcmax" else {}
        kinds = {"joint": methods.Joint, "unimodal": methods.Unimodal, "tcmax": methods.TCMax}
        self._method = kinds[setting.loss](**options).make(MODALITIES)
        self.steps_per_epoch = len(data.train[1]) // setting.batch_size

    def init(self, seed):
        """Returns the initial parameters."""
        key = jax.random.key(seed)
        inputs = {m: x[:1] for m, x in self._data.train[0].items()}
        params = self._model.init(key, inputs)["params"]
        if self._setting.head != "zero":
            # One linear layer on both features: the fan-in is that of all modalities.
            fan_in = len(MODALITIES) * SIZES[-1]
            scale = 1.0 if self._setting.head == "random" else 1 / np.sqrt(SIZES[-1])
            for m in MODALITIES:
                shape = params["head"][m]["kernel"].shape
                key, used = jax.random.split(key)
                kernel = jax.random.truncated_normal(used, -2, 2, shape) / 0.8796 / fan_in**0.5
                params["head"][m]["kernel"] = scale * kernel
        return params

    def order(self, seed, epoch):
        """Returns the indices of an epoch's batches, [steps, B]."""
        size, steps = self._setting.batch_size, self.steps_per_epoch
        key = jax.random.fold_in(jax.random.key(seed), epoch)
        shuffled = jax.random.permutation(key, len(self._data.train[1]))
        return shuffled[: steps * size].reshape(steps, size)

    def modality_logits(self, params, rows):
        """Returns ({modality: [B, C]}, features) of training rows."""
        features = self._encode(params, {m: x[rows] for m, x in self._data.train[0].items()})
        return head_of(self._model, params).modality_logits(features), features

    def loss(self, params, rows, method=None):
        """Returns (mean loss, {"ess": effective sample size or 0, "floor"}) of training rows."""
        method = method or self._method
        features = self._encode(params, {m: x[rows] for m, x in self._data.train[0].items()})
        head = head_of(self._model, params)
        if self._setting.clip == "row":
            logits = head.modality_logits
            head = AdditiveHead(lambda z: jax.tree.map(bound_rows, logits(z)))
        # The order within a batch is random, and so is this number.
        key = jax.random.key(jnp.sum(rows * jnp.arange(len(rows))))
        forward = methods.Forward(head, features, self._data.train[1][rows], key=key)
        loss = method.loss(forward, ())
        ess = loss.metrics.get("effective_sample_size", jnp.zeros(()))
        floor = jnp.zeros(()) if loss.floor is None else loss.floor
        return loss.values.mean(), {"ess": ess, "floor": floor}

    def optimizer(self, learning_rate):
        """Returns the update rule: perhaps a bound, then the library's SGD with momentum."""
        setting = self._setting
        first = optax.identity()
        if setting.clip in _BOUNDS:
            first = bound_decrease(learning_rate, MOMENTUM, share=1.0)
        elif setting.clip == "adaptive":
            first = optax.adaptive_grad_clip(0.01)
        ramp = self.steps_per_epoch if setting.warmup else 1
        clip_norm = 1.0 if setting.clip == "norm" else None
        config = SGD(clip_norm=clip_norm, bound_decrease=False)
        rule = config.make(lambda t: learning_rate * jnp.minimum(1, (t + 1) / ramp))
        return optax.with_extra_args_support(optax.chain(first, rule))

    def step(self, optimizer, state, rows):
        """One update; returns ((params, optimiser state), {name: scalar})."""
        params, opt_state = state
        (loss, log), grads = jax.value_and_grad(self.loss, has_aux=True)(params, rows)
        extra = {}
        if self._setting.clip in _BOUNDS:
            extra["gap"] = allowed_decrease(self._setting, loss, log["floor"])
        updates, opt_state = optimizer.update(grads, opt_state, params, **extra)
        log |= {"loss": loss, "grad_norm": optax.tree.norm(grads)}
        return (optax.apply_updates(params, updates), opt_state), log

    def run(self, learning_rate, seed):
        """Trains; returns (features of the test split, its modalities' logits, log by step)."""
        optimizer, params = self.optimizer(learning_rate), self.init(seed)

        def epoch(state, number):
            rows = self.order(seed, number)
            return jax.lax.scan(lambda s, r: self.step(optimizer, s, r), state, rows)

        state = (params, optimizer.init(params))
        (params, _), log = jax.lax.scan(epoch, state, jnp.arange(self._setting.epochs))
        features = self._encode(params, self._data.test[0])
        return features, head_of(self._model, params).modality_logits(features), log

    def _encode(self, params, inputs):
        return self._model.apply({"params": params}, inputs, False, method="encode")
