"""The main path: trains a classifier, keeps its checkpoints, evaluates the best one."""

import contextlib
import functools
import json
import math
import time
from collections.abc import Collection
from pathlib import Path

import jax
import numpy as np

from tcmax_jax.data.datasets import clip_counts
from tcmax_jax.data.pipeline import Process, Readers, Subset, eval_batches, train_batches
from tcmax_jax.evaluation.evaluate import Evaluation, encode_split, evaluate_split
from tcmax_jax.evaluation.probe import probe_accuracies
from tcmax_jax.models import head_of
from tcmax_jax.training import parallel
from tcmax_jax.training import workdir as workdirs
from tcmax_jax.training.build import Parts, build
from tcmax_jax.training.checkpoint import Checkpoints
from tcmax_jax.training.config import Config
from tcmax_jax.training.feed import Feed
from tcmax_jax.training.logs import RunLog, write_atomically
from tcmax_jax.training.pretrained import check_weights, load_weights
from tcmax_jax.training.state import TrainState, init_state
from tcmax_jax.training.step import encode_step, train_step

_STEPS_IN_FLIGHT = 2


class NonFiniteError(ArithmeticError):
    """A quantity of a training step is NaN or infinite."""


def train(config: Config, workdir: Path, data_dir: str, devices=None) -> dict:
    """Trains, or goes on with an interrupted run, and evaluates the best checkpoint.

    The folder then holds config.json, data.json, versions.json, metrics.jsonl, TensorBoard
    events, checkpoints/ and results.json. A run that was killed and started again with the same
    configuration gives the same numbers as an unbroken one.

    Args:
      config: the configuration.
      workdir: folder of this run.
      data_dir: folder that holds prepared data sets.
      devices: devices to train on; all local ones when None.

    Returns:
      What results.json holds, see `evaluate`.

    Raises:
      ConfigError: the folder belongs to another configuration or other data.
      NonFiniteError: a quantity of a step is NaN or infinite; names step and quantity.
    """
    workdirs.check(workdir, config)
    if not (workdir / "checkpoints").exists():
        check_weights(config)
    parts = build(config, data_dir, devices)
    workdirs.check_data(workdir, parts.dataset)
    workdirs.claim(workdir, config, parts.dataset)
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        state = initial_state(parts)
        if checkpoints.latest is None:
            state = load_weights(config, state)
        else:
            state = checkpoints.restore(checkpoints.latest, state)
        _fit(parts, state, checkpoints, workdir)
    return _evaluate(parts, workdir)


def evaluate(
    workdir: Path,
    data_dir: str,
    devices=None,
    *,
    probe: bool = False,
    dropped: Collection[str] = (),
) -> dict:
    """Evaluates the best checkpoint of a run on validation and test, and writes results.json.

    Args:
      workdir: folder of a run that has a checkpoint.
      data_dir: folder that holds prepared data sets.
      devices: devices to use; all local ones when None.
      probe: whether to add linear probes if the configuration does not ask for them.
      dropped: modalities without which to predict as well, for additive heads.

    Returns:
      {"run", "dataset", "data", "method", "seed", "step", "epoch", "splits": {split: {metric:
      float}}, "collapsed"}.

    Raises:
      ConfigError: there is no run in the folder, or its data has changed.
      FileNotFoundError: the run has no checkpoint yet.
    """
    parts = build(workdirs.stored_config(workdir), data_dir, devices)
    workdirs.check_data(workdir, parts.dataset)
    return _evaluate(parts, workdir, probe=probe, dropped=dropped)


def _evaluate(parts: Parts, workdir: Path, *, probe=False, dropped=()) -> dict:
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        if checkpoints.best is None:
            raise FileNotFoundError(
                f"Expected a checkpoint in {workdir}, got none yet: the first one is written after "
                f"{parts.config.training.eval_every} epochs. Go on training with the same command."
            )
        state = checkpoints.restore(checkpoints.best, initial_state(parts))
    evaluate_on = _evaluator(parts, dropped)
    replicated = parallel.replicate(state, parts.devices)
    splits = [s for s in ("validation", "test") if s in parts.dataset.sources]
    evaluations = {split: evaluate_on(replicated, split) for split in splits}
    metrics = {split: evaluation.metrics for split, evaluation in evaluations.items()}
    if probe or parts.config.training.probe:
        for split, accuracies in _probe(parts, replicated, splits).items():
            metrics[split] |= {f"probe/{m}": value for m, value in accuracies.items()}
    step = int(state.step)
    results = {
        "run": workdir.name,
        "dataset": parts.dataset.name,
        "data": clip_counts(parts.dataset),
        "method": parts.config.method.name,
        "seed": parts.config.seed,
        "step": step,
        "epoch": step // parts.steps_per_epoch,
        "splits": metrics,
        "collapsed": evaluations[splits[-1]].collapsed,
    }
    write_atomically(workdir / "results.json", json.dumps(results, indent=2) + "\n")
    return results


def _probe(parts: Parts, state, splits) -> dict:
    """Returns {split: {modality: accuracy}} of linear probes on the frozen encoders' features."""
    encode = _encoder(parts)(state)
    encoded = {
        split: encode_split(encode, _eval_batches(parts, parts.dataset.sources[split]))
        for split in ("train", *splits)
    }
    features, labels = encoded.pop("train")
    return probe_accuracies(features, labels, encoded, len(parts.dataset.class_names))


def _fit(parts: Parts, state: TrainState, checkpoints: Checkpoints, workdir: Path) -> None:
    """Runs the steps that are left, with a validation and a checkpoint every few epochs."""
    training = parts.config.training
    first_step, total_steps = int(state.step), training.epochs * parts.steps_per_epoch
    if first_step == total_steps:
        return
    step_fn = functools.partial(
        train_step,
        model=parts.model,
        optimizer=parts.optimizer,
        method=parts.method,
        seed=parts.config.seed,
        steps_per_epoch=parts.steps_per_epoch,
    )
    step_fn = parallel.map_train_step(step_fn, parts.devices)
    evaluate_on, begin_epoch = _evaluator(parts), _epoch_opener(parts)
    state = parallel.replicate(state, parts.devices)
    pending, since, known_collapsed = {}, time.monotonic(), set()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(RunLog(workdir, first_step=first_step, total_steps=total_steps))
        batches = stack.enter_context(contextlib.closing(_train_batches(parts, first_step)))
        feed = Feed(batches, functools.partial(parallel.put, devices=parts.devices))
        for step, batch in enumerate(feed, start=first_step + 1):
            epoch = -(-step // parts.steps_per_epoch)
            epoch_ends = step % parts.steps_per_epoch == 0
            if step % parts.steps_per_epoch == 1 % parts.steps_per_epoch:
                state = begin_epoch(state, epoch)
            state, pending[step] = step_fn(state, batch)
            # No further ahead of the devices than this, or time waited for data would mean nothing.
            jax.block_until_ready(pending.get(step - _STEPS_IN_FLIGHT))
            if epoch_ends or step % training.log_every == 0:
                window = _fetch(pending, parts.steps_per_epoch, checkpoints.latest)
                seconds, since = time.monotonic() - since, time.monotonic()
                window["learning_rate"] = float(parts.schedule(step - 1))
                window["examples_per_second"] = len(pending) * training.batch_size / seconds
                window["input_wait"] = feed.waited() / seconds
                log.metrics(step, epoch, "train", window)
                log.progress(step, window, epoch)
                pending = {}
            if epoch_ends and (epoch % training.eval_every == 0 or step == total_steps):
                evaluation = evaluate_on(state, "validation")
                log.metrics(step, epoch, "validation", evaluation.metrics)
                log.validation(step, epoch, training.epochs, evaluation.metrics)
                for name in sorted(set(evaluation.collapsed) - known_collapsed):
                    log.say(_collapse_warning(name, epoch))
                known_collapsed = set(evaluation.collapsed)
                checkpoints.save(parallel.unreplicate(state), evaluation.metrics)
                since = time.monotonic()


def initial_state(parts: Parts) -> TrainState:
    """Returns the state before the first step, on the host."""
    example = next(_eval_batches(parts, parts.dataset.sources["validation"], batch_size=1))
    num_examples = len(parts.dataset.sources["train"])
    init = functools.partial(init_state, parts.model, parts.optimizer, parts.method, num_examples)
    return jax.device_get(jax.jit(init)(example["inputs"], jax.random.key(parts.config.seed)))


def _evaluator(parts: Parts, dropped=()):
    """Returns a function (replicated state, split) -> `Evaluation`, compiled once."""
    encoder = _encoder(parts)

    def evaluate_on(state, split) -> Evaluation:
        head = head_of(parts.model, parallel.unreplicate(state.params))
        batches = _eval_batches(parts, parts.dataset.sources[split])
        return evaluate_split(encoder(state), head, parts.method, batches, dropped=dropped)

    return evaluate_on


def _epoch_opener(parts: Parts):
    """Returns a function (replicated state, epoch) -> state that lets the method see features.

    Which training examples it sees depends on the seed and the epoch alone.
    """
    if parts.method.begin_epoch is None:
        return lambda state, epoch: state
    encoder = _encoder(parts)
    source = parts.dataset.sources["train"]
    number = math.ceil(parts.method.epoch_share * len(source))
    update = jax.jit(parts.method.begin_epoch)

    def begin_epoch(state, epoch):
        chosen = np.random.default_rng((parts.config.seed, epoch)).permutation(len(source))[:number]
        batches = _eval_batches(parts, Subset(source, np.sort(chosen)))
        features, labels = encode_split(encoder(state), batches)
        method_state = update(parallel.unreplicate(state.method_state), features, labels)
        return state._replace(
            method_state=parallel.replicate(jax.device_get(method_state), parts.devices)
        )

    return begin_epoch


def _encoder(parts: Parts):
    """Returns a function replicated state -> (inputs -> features on the host), compiled once."""
    step = parallel.map_encode_step(
        functools.partial(encode_step, model=parts.model), parts.devices
    )

    def encoder(state):
        def encode(inputs):
            features = step(state, parallel.shard(inputs, parts.devices))
            return jax.tree.map(parallel.unshard, features)

        return encode

    return encoder


def _train_batches(parts: Parts, first_step: int):
    training = parts.config.training
    return train_batches(
        parts.dataset.sources["train"],
        parts.transforms,
        batch_size=training.batch_size,
        epochs=training.epochs,
        seed=parts.config.seed,
        readers=Readers(training.threads, training.workers),
        process=Process(),
        first_step=first_step,
    )


def _eval_batches(parts: Parts, source, batch_size: int | None = None):
    training = parts.config.training
    return eval_batches(
        source,
        parts.transforms,
        batch_size=batch_size or training.eval_batch_size,
        readers=Readers(training.threads, 0),
        process=Process(),
    )


def _fetch(pending: dict, steps_per_epoch: int, last_checkpoint: int | None) -> dict:
    """Returns the means of the pending steps' metrics, after checking each for NaN and infinity."""
    fetched = {step: parallel.scalars(metrics) for step, metrics in pending.items()}
    for step, metrics in fetched.items():
        for name, value in metrics.items():
            if not math.isfinite(value):
                kept = f"that of step {last_checkpoint}" if last_checkpoint else "none"
                raise NonFiniteError(
                    f"Expected finite numbers, got {name} = {value} at step {step} (epoch "
                    f"{-(-step // steps_per_epoch)}). Last good checkpoint: {kept}. Lower "
                    "optimizer.learning_rate, set optimizer.clip_norm, or look for broken data."
                )
    return {name: float(np.mean([m[name] for m in fetched.values()])) for name in metrics}


def _collapse_warning(name: str, epoch: int) -> str:
    return (
        f"warning: {name} has collapsed: the same prediction (or feature) for all validation "
        f"examples (epoch {epoch}). If it lasts, lower optimizer.learning_rate."
    )
