"""The steps of training, from the last checkpoint to the last epoch."""

import contextlib
import math
import textwrap
import time
from pathlib import Path

import jax
import numpy as np

from tcmax_jax.data.pipeline import Process
from tcmax_jax.training import passes
from tcmax_jax.training.build import Parts
from tcmax_jax.training.checkpoint import Checkpoints
from tcmax_jax.training.feed import Feed
from tcmax_jax.training.logs import open_log
from tcmax_jax.training.measures import profiled, used_memory
from tcmax_jax.training.preemption import PreemptedError, Preemption
from tcmax_jax.training.state import TrainState

_STEPS_IN_FLIGHT = 2
_WIDTH = 80  # columns


class NonFiniteError(ArithmeticError):
    """A quantity of a training step is NaN or infinite."""


def fit(parts: Parts, state: TrainState, checkpoints: Checkpoints, workdir: Path) -> None:
    """Runs the steps that are left, with a validation and a checkpoint every few epochs.

    Args:
      parts: the parts of the run.
      state: the state on the host to go on from.
      checkpoints: where states are saved.
      workdir: folder of the run, for its log.

    Raises:
      NonFiniteError: a quantity of a step is NaN or infinite; names the step, the quantity, and
        what of its batch is not finite.
      PreemptedError: the process was asked to stop; the state is saved.
      CheckpointError: a checkpoint cannot be written.
    """
    training = parts.config.training
    first_step, total_steps = int(state.step), training.epochs * parts.steps_per_epoch
    if first_step == total_steps:
        return
    step_fn = passes.training_step(parts)
    evaluate_on, begin_epoch = passes.evaluator(parts), passes.epoch_opener(parts)
    state = parts.parallel.replicate(state)
    pending, since, validated, known_collapsed = {}, time.monotonic(), False, set()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(
            open_log(workdir, parts.config, first_step=first_step, total_steps=total_steps)
        )
        preemption = stack.enter_context(Preemption())
        batches = stack.enter_context(
            contextlib.closing(passes.training_batches(parts, first_step))
        )
        profile = stack.enter_context(profiled(workdir / "profile", training.profile_steps))
        feed = Feed(batches, parts.parallel.put)
        log.say("compiling the training step ...")
        for step, batch in enumerate(feed, start=first_step + 1):
            epoch = -(-step // parts.steps_per_epoch)
            epoch_ends = step % parts.steps_per_epoch == 0
            if step % parts.steps_per_epoch == 1 % parts.steps_per_epoch:
                paused = time.monotonic()
                state = begin_epoch(state, epoch)
                since += time.monotonic() - paused  # no part of the steps' rate
            profile(step)
            state, pending[step] = step_fn(state, batch)
            # No further ahead of the devices than this, or time waited for data would mean nothing.
            jax.block_until_ready(pending.get(step - _STEPS_IN_FLIGHT))
            stops = preemption.asked()
            saves = stops or step % (training.checkpoint_every or total_steps) == 0
            # Windows of the log end where checkpoints lie, so that none is lost or told twice.
            if epoch_ends or saves or step % training.log_every == 0:
                window = _fetch(parts, pending, checkpoints.latest)
                seconds, since = time.monotonic() - since, time.monotonic()
                window["learning_rate"] = float(parts.schedule(step - 1))
                window["examples_per_second"] = len(pending) * training.batch_size / seconds
                window["input_wait"] = feed.waited() / seconds
                log.metrics(step, epoch, "train", window | used_memory())
                log.progress(step, window, epoch)
                pending = {}
            if epoch_ends and (epoch % training.eval_every == 0 or step == total_steps):
                if not validated:
                    log.say("compiling the evaluation ...")
                    validated = True
                evaluation = evaluate_on(state, "validation")
                _check_finite(evaluation.metrics, step, epoch, checkpoints.latest)
                log.metrics(step, epoch, "validation", evaluation.metrics)
                log.validation(step, epoch, training.epochs, evaluation.metrics)
                for name in sorted(set(evaluation.collapsed) - known_collapsed):
                    log.say(_collapse_warning(name, epoch))
                known_collapsed = set(evaluation.collapsed)
                checkpoints.save(parts.parallel.first(state), evaluation.metrics)
                since = time.monotonic()
            elif saves:
                checkpoints.save(parts.parallel.first(state))
                since = time.monotonic()
            # A signal since then waits for the next step, which saves; after the last all is saved.
            if stops or (step == total_steps and preemption.signalled):
                raise PreemptedError(
                    f"Asked to stop (SIGTERM): saved step {step} of {total_steps} in {workdir}. "
                    "The same command goes on from there."
                )


def _fetch(parts: Parts, pending: dict, last_checkpoint: int | None) -> dict:
    """Returns the means of the pending steps' metrics, after checking each for NaN and infinity."""
    fetched = {step: parts.parallel.scalars(metrics) for step, metrics in pending.items()}
    for step, metrics in fetched.items():
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"Expected finite numbers, got {name} = {value} at step {step} (epoch "
                    f"{-(-step // parts.steps_per_epoch)}). Last good checkpoint: "
                    f"{_kept(last_checkpoint)}. "
                    f"{_cause(parts, step)}"
                )
    return {name: float(np.mean([m[name] for m in fetched.values()])) for name in metrics}


def _check_finite(validation: dict, step: int, epoch: int, last_checkpoint: int | None) -> None:
    for name, value in validation.items():
        if not math.isfinite(value):
            raise NonFiniteError(
                f"Expected finite numbers, got {name} = {value} of the validation at step {step} "
                f"(epoch {epoch}). Last good checkpoint: {_kept(last_checkpoint)}. Lower "
                "optimizer.learning_rate, or set optimizer.clip_norm, in a new --workdir."
            )


def _kept(step):
    return f"that of step {step}" if step else "none"


def _cause(parts: Parts, step: int) -> str:
    """Returns what to do about a step that is not finite, after another look at its batch."""
    # All rows of the batch: each process has to say the same.
    whole = passes.training_batches(parts, step - 1, Process())
    with contextlib.closing(whole) as batches:
        batch = next(batches)
    for modality, values in batch["inputs"].items():
        rows = values.reshape(len(values), -1).astype(np.float32)
        if broken := batch["index"][~np.isfinite(rows).all(axis=1)].tolist():
            return (
                f"The data is not finite: {modality} of the training examples {broken[:5]} (their "
                f"positions in {parts.dataset.name}). Mend or drop them and prepare the data again."
            )
    return (
        "Its batch is finite: lower optimizer.learning_rate, or set optimizer.clip_norm, in a new "
        "--workdir."
    )


def _collapse_warning(name: str, epoch: int) -> str:
    return textwrap.fill(
        f"warning: {name} has collapsed: the same prediction (or feature) for all validation "
        f"examples (epoch {epoch}). If it lasts, lower optimizer.learning_rate.",
        _WIDTH,
    )
