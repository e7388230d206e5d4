"""Passes over the data with the model of a run: what training and evaluation share."""

import functools
import math
import sys

import jax
import numpy as np
from tqdm import tqdm

from tcmax_jax.data.pipeline import Process, Readers, Subset, eval_batches, train_batches
from tcmax_jax.evaluation.evaluate import Evaluation, encode_split, evaluate_split
from tcmax_jax.models import head_of
from tcmax_jax.training.build import Parts
from tcmax_jax.training.processes import gather, is_primary
from tcmax_jax.training.state import TrainState, init_state
from tcmax_jax.training.step import encode_step, train_step

_SILENT_SECONDS = 2.0  # before a bar appears


def initial_state(parts: Parts) -> TrainState:
    """Returns the state before the first step, on the host; the same in every process."""
    source = parts.dataset.sources["validation"]
    example = next(iter(_eval_batches(parts, Subset(source, [0]), 1, Process())))
    num_examples = len(parts.dataset.sources["train"])
    init = functools.partial(init_state, parts.model, parts.optimizer, parts.method, num_examples)
    return jax.device_get(jax.jit(init)(example["inputs"], jax.random.key(parts.config.seed)))


def training_step(parts: Parts):
    """Returns the step (replicated state, batch) -> (state, metrics); it donates the state."""
    step = functools.partial(
        train_step,
        model=parts.model,
        optimizer=parts.optimizer,
        method=parts.method,
        seed=parts.config.seed,
        steps_per_epoch=parts.steps_per_epoch,
        accumulate=parts.config.training.accumulate,
    )
    return parts.parallel.train_step(step)


def training_batches(parts: Parts, first_step: int, process: Process | None = None):
    """Yields the part of a process, or of this one, of the batches after `first_step` steps."""
    training = parts.config.training
    return train_batches(
        parts.dataset.sources["train"],
        parts.inputs,
        batch_size=training.batch_size,
        epochs=training.epochs,
        seed=parts.config.seed,
        readers=Readers(training.threads, training.workers),
        process=process or _process(),
        first_step=first_step,
    )


def split_encoder(parts: Parts):
    """Returns a function (replicated state, source) -> (features, labels), compiled once.

    Features are those of all examples of the source, in its order and in every process.
    """
    encoder = _encoder(parts)

    def encode(state, source):
        return encode_split(encoder(state), _eval_batches(parts, source), gather)

    return encode


def evaluator(parts: Parts):
    """Returns a function (replicated state, split, options) -> `Evaluation`, compiled once.

    Options are those of `evaluate_split`: dropped, hard and noise.
    """
    encoder = _encoder(parts)

    def evaluate_on(state, split, **options) -> Evaluation:
        head = head_of(parts.model, parts.parallel.first(state.params))
        batches = _eval_batches(parts, parts.dataset.sources[split])
        return evaluate_split(encoder(state), head, parts.method, batches, gather=gather, **options)

    return evaluate_on


def epoch_opener(parts: Parts):
    """Returns a function (replicated state, epoch) -> state that lets the method see features.

    Which training examples it sees depends on the seed and the epoch alone.
    """
    if parts.method.begin_epoch is None:
        return lambda state, epoch: state
    encode = split_encoder(parts)
    source = parts.dataset.sources["train"]
    number = math.ceil(parts.method.epoch_share * len(source))
    update = jax.jit(parts.method.begin_epoch)

    def begin_epoch(state, epoch):
        chosen = np.random.default_rng((parts.config.seed, epoch)).permutation(len(source))[:number]
        features, labels = encode(state, Subset(source, np.sort(chosen)))
        method_state = update(parts.parallel.first(state.method_state), features, labels)
        return state._replace(method_state=parts.parallel.replicate(jax.device_get(method_state)))

    return begin_epoch


def _encoder(parts):
    """Returns a function replicated state -> (inputs -> features on the host), compiled once."""
    step = parts.parallel.encode_step(functools.partial(encode_step, model=parts.model))

    def encoder(state):
        return lambda inputs: parts.parallel.rows(step(state, parts.parallel.put(inputs)))

    return encoder


def _eval_batches(parts, source, batch_size=None, process=None):
    """Yields the batches, with a bar on a terminal where that takes long."""
    training = parts.config.training
    size = batch_size or training.eval_batch_size
    batches = eval_batches(
        source,
        parts.inputs,
        batch_size=size,
        readers=Readers(training.threads, 0),
        process=process or _process(),
    )
    return tqdm(
        batches,
        desc="evaluating",
        total=math.ceil(len(source) / size),
        unit="batch",
        file=sys.stderr,
        disable=None if is_primary() else True,
        delay=_SILENT_SECONDS,
        leave=False,
    )


def _process():
    return Process(jax.process_index(), jax.process_count())
