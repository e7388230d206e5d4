"""Passes over the data with the model of a run, shared by training and evaluation."""

import contextlib
import math
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from tcmax_jax.data.pipeline import (
    Process,
    Readers,
    Subset,
    batches_of_worker,
    eval_batches,
    train_batches,
)
from tcmax_jax.evaluation.evaluate import Evaluation, encode_split, evaluate_split
from tcmax_jax.models import head_of
from tcmax_jax.models.classifier import broken_modality
from tcmax_jax.space import lacking
from tcmax_jax.training.processes import gather, is_primary
from tcmax_jax.training.setup import Setup
from tcmax_jax.training.state import TrainState

SMALLER_STEPS = "lower optimizer.learning_rate, or set optimizer.clip_norm, in a new --workdir."
_SHARED = Path("/dev/shm")
_SILENT_SECONDS = 2.0  # before a bar appears


def initial_state(setup: Setup) -> TrainState:
    """Returns the state before the first step, on the host; the same in every process."""
    return jax.device_get(setup.programs.initialise(*_initial_arguments(setup)))


def state_shapes(setup: Setup, inputs=None) -> TrainState:
    """Returns shapes and dtypes of a state, without computing it.

    Args:
      setup: what the run is made of.
      inputs: {modality: shapes and dtypes of [B, ...]}; those of the data when None.
    """
    of_data, key = _initial_arguments(setup)
    return jax.eval_shape(setup.programs.initialise, inputs or of_data, key)


def batch_shapes(setup: Setup, rows: int):
    """Returns shapes and dtypes of a global batch of training; reads one example."""
    training = replace(setup.config.training, batch_size=1, workers=0)
    single = setup._replace(config=replace(setup.config, training=training))
    with contextlib.closing(training_batches(single, 0, Process())) as batches:
        batch = next(batches)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype), batch)


def _initial_arguments(setup):
    source = setup.dataset.sources["validation"]
    example = next(iter(_eval_batches(setup, Subset(source, [0]), 1, Process())))
    return example["inputs"], jax.random.key(setup.config.seed)


def check_shared_memory(setup: Setup) -> None:
    """Checks that the batches of worker processes fit into shared memory.

    Raises:
      OSError: they do not: the workers would die.
    """
    training = setup.config.training
    if not training.workers or not _SHARED.is_dir():
        return
    example, _ = _initial_arguments(setup)
    # Validation has workers of its own beside those of training.
    rows = (training.batch_size + training.eval_batch_size) // _process().count
    batch = rows * sum(x.nbytes for x in jax.tree.leaves(example))
    batches = training.workers * batches_of_worker(training.threads)
    if lack := lacking(_SHARED, batches * batch):
        raise OSError(
            f"Expected shared memory in {_SHARED} for training.workers={training.workers}, got "
            f"{lack}. Give the container more (docker run --shm-size=..), lower training.workers, "
            "or set it to 0."
        )


def training_batches(setup: Setup, first_step: int, process: Process | None = None):
    """Yields the share of a process, or of this one, of the batches after `first_step` steps."""
    training = setup.config.training
    return train_batches(
        setup.dataset.sources["train"],
        setup.inputs,
        batch_size=training.batch_size,
        epochs=training.epochs,
        seed=setup.config.seed,
        readers=Readers(training.threads, training.workers),
        process=process or _process(),
        first_step=first_step,
    )


def split_encoder(setup: Setup):
    """Returns a function (replicated state, source) -> (features, labels).

    Features are those of all examples of the source, in its order and in every process.
    """

    def encode(state, source):
        return encode_split(_encoder(setup, state), _eval_batches(setup, source), gather)

    return encode


def evaluator(setup: Setup):
    """Returns a function (replicated state, split, options) -> `Evaluation`.

    Options are those of `evaluate_split`: bank, dropped, hard and noise.

    Raises:
      NonFiniteError: an example has no finite scores; names it.
    """

    def evaluate_on(state, split, **options) -> Evaluation:
        head = head_of(setup.model, setup.parallel.first(state.params), setup.programs.apply)
        batches = _eval_batches(setup, setup.dataset.sources[split])
        options |= {"gather": gather, "about": about_example(setup, split)}
        return evaluate_split(_encoder(setup, state), head, setup.method, batches, **options)

    return evaluate_on


def about_example(setup: Setup, split: str):
    """Returns a function from a row of a split to a text: which example it is, and how to fix it.

    That is for an example with features or scores that are not finite, see `check_finite`; it takes
    another look at the example's inputs.
    """
    source = setup.dataset.sources[split]

    def about(row):
        (batch,) = _eval_batches(setup, Subset(source, [row]), 1, Process())
        name = source[row].get("id", b"")
        name = name if isinstance(name, str) else name.decode()
        which = f"{split} example {row}" + (f" ({name})" if name else "")
        if modality := broken_modality(batch["inputs"], 0):
            return (
                f"{which}, whose {modality} holds NaN or infinity. Fix or drop it in "
                f"{setup.dataset.name} and prepare the data again."
            )
        return f"{which}, whose inputs are finite: {SMALLER_STEPS}"

    return about


def epoch_opener(setup: Setup):
    """Returns a function (replicated state, epoch) -> state that shows features to the method.

    Which training examples it sees depends on the seed and the epoch alone.
    """
    if setup.programs.begin_epoch is None:
        return lambda state, epoch: state
    encode = split_encoder(setup)
    source = setup.dataset.sources["train"]
    number = math.ceil(setup.method.epoch_share * len(source))
    update = setup.programs.begin_epoch

    def begin_epoch(state, epoch):
        chosen = np.random.default_rng((setup.config.seed, epoch)).permutation(len(source))[:number]
        features, labels = encode(state, Subset(source, np.sort(chosen)))
        method_state = update(setup.parallel.first(state.method_state), features, labels)
        return state._replace(method_state=setup.parallel.replicate(jax.device_get(method_state)))

    return begin_epoch


def evaluation_batches(setup: Setup, split: str, size: int):
    """Yields batches of a split in order, all rows in every process."""
    return _eval_batches(setup, setup.dataset.sources[split], size, Process())


def _encoder(setup, state):
    """Returns a function inputs -> features on the host, for a replicated state."""
    over = setup.parallel
    return lambda inputs: over.rows(setup.programs.encode(state, over.put(inputs)))


def _eval_batches(setup, source, batch_size=None, process=None):
    """Yields the batches, with a bar on a terminal if that takes long."""
    training = setup.config.training
    size = batch_size or training.eval_batch_size
    batches = eval_batches(
        source,
        setup.inputs,
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
