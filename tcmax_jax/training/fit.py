"""The training loop, from the last checkpoint to the last epoch."""

import contextlib
import math
import textwrap
import time
from pathlib import Path

import jax
import numpy as np

from tcmax_jax.data.pipeline import Process
from tcmax_jax.evaluation.finite import NonFiniteError
from tcmax_jax.models.classifier import finite_examples, standardized
from tcmax_jax.models.encoder import NormalizingOptions, normalize
from tcmax_jax.run_folder import RunFolder
from tcmax_jax.series import Series
from tcmax_jax.training import passes
from tcmax_jax.training.checkpoint import Checkpoints
from tcmax_jax.training.feed import Feed
from tcmax_jax.training.logs import open_log
from tcmax_jax.training.measures import profiled, used_memory
from tcmax_jax.training.preemption import PreemptedError, Preemption
from tcmax_jax.training.setup import Setup
from tcmax_jax.training.state import TrainState
from tcmax_jax.training.step import training_key

_STEPS_IN_FLIGHT = 2
_WIDTH = 80  # columns
_FAR = 10.0  # times the usual scale of inputs; beyond, it and not the rate is to blame
_EXAMPLES = 32  # of which that scale is taken


class Stopwatch:
    """Measures the seconds of steps, with pauses excluded."""

    def __init__(self):
        """Starts."""
        self._since = time.monotonic()

    def lap(self) -> float:
        """Returns the seconds since the last lap, pauses excluded."""
        seconds, self._since = time.monotonic() - self._since, time.monotonic()
        return seconds

    @contextlib.contextmanager
    def paused(self):
        """Pauses in its block."""
        begin = time.monotonic()
        yield
        self._since += time.monotonic() - begin


def fit(setup: Setup, state: TrainState, checkpoints: Checkpoints, workdir: Path) -> None:
    """Runs the remaining steps, with a validation and a checkpoint every few epochs.

    Args:
      setup: what the run is made of.
      state: the state on the host to go on from.
      checkpoints: where states are saved.
      workdir: folder of the run, for its log.

    Raises:
      NonFiniteError: a quantity of a step is NaN or infinite; names the step, the quantity, and
        what of its batch is not finite.
      PreemptedError: the process was asked to stop; the state is saved.
      CheckpointError: a checkpoint cannot be written.
    """
    training, epochs = setup.config.training, setup.epochs
    first_step, total_steps = int(state.step), epochs.total_steps
    if first_step == total_steps:
        return
    step_fn, begin_epoch = setup.programs.step, passes.epoch_opener(setup)
    state, key = setup.parallel.replicate((state, training_key(setup.config.seed)))
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(
            open_log(workdir, setup.config, first_step=first_step, total_steps=total_steps)
        )
        preemption = stack.enter_context(Preemption())
        batches = passes.training_batches(setup, first_step)
        feed = Feed(stack.enter_context(contextlib.closing(batches)), setup.parallel.put)
        profile = stack.enter_context(profiled(RunFolder(workdir).profile, training.profile_steps))
        validate = _validation(setup, log, checkpoints)
        pending, watch = {}, Stopwatch()
        log.say("compiling the training step ...")
        for step, batch in enumerate(feed, start=first_step + 1):
            epoch = epochs.of(step)
            if epochs.begins(step):
                with watch.paused():
                    state = begin_epoch(state, epoch)
            profile(step)
            state, pending[step] = step_fn(state, batch, key)
            # No further ahead of the devices than this, or time waited for data would mean nothing.
            jax.block_until_ready(pending.get(step - _STEPS_IN_FLIGHT))
            stops = preemption.asked()
            saves = stops or step % (training.checkpoint_every or total_steps) == 0
            # Windows of the log end where checkpoints lie, so that none is lost or told twice.
            if epochs.ends(step) or saves or step % training.log_every == 0:
                window = _fetch(setup, pending, checkpoints.latest)
                seconds = watch.lap()
                window["learning_rate"] = float(setup.schedule(step - 1))
                window["examples_per_second"] = len(pending) * training.batch_size / seconds
                window["input_wait"] = feed.waited() / seconds
                log.metrics(step, epoch, "train", window | used_memory())
                log.progress(step, window, epoch)
                pending = {}
            due = epoch % training.eval_every == 0 or step == total_steps
            validates = epochs.ends(step) and due
            with watch.paused():
                validation = validate(state, step, epoch) if validates else None
                if validates or saves:
                    log.keep()
                    checkpoints.save(setup.parallel.first(state), validation)
            # A signal since then waits for the next step, which saves; after the last all is saved.
            if stops or (step == total_steps and preemption.signalled):
                raise PreemptedError(
                    f"Asked to stop (SIGTERM): saved step {step} of {total_steps} in {workdir}. "
                    "The same command resumes from there."
                )


def _validation(setup: Setup, log, checkpoints: Checkpoints):
    """Returns a function (state, step, epoch) -> metrics of validation, which logs them."""
    evaluate_on, known = passes.evaluator(setup), None

    def validate(state, step, epoch):
        nonlocal known
        if known is None:
            log.say("compiling the evaluation ...")
            known = set()
        try:
            evaluation = evaluate_on(state, "validation")
        except NonFiniteError as error:
            raise NonFiniteError(
                f"{error} That is the validation at step {step} (epoch {epoch}). Last good "
                f"checkpoint: {_kept(checkpoints.latest)}."
            ) from error
        _check_finite(evaluation.metrics, step, epoch, checkpoints.latest)
        log.metrics(step, epoch, "validation", evaluation.metrics)
        log.validation(step, epoch, setup.epochs.number, evaluation.metrics)
        for name in sorted(set(evaluation.collapsed) - known):
            log.say(_collapse_warning(setup, name, epoch))
        known = set(evaluation.collapsed)
        return evaluation.metrics

    return validate


def _fetch(setup: Setup, pending: dict, last_checkpoint: int | None) -> dict:
    """Returns the means of the pending steps' metrics, after checking that each is finite."""
    fetched = {step: setup.parallel.scalars(metrics) for step, metrics in pending.items()}
    for step, metrics in fetched.items():
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"Expected finite numbers, got {name} = {value} at step {step} (epoch "
                    f"{setup.epochs.of(step)}). Last good checkpoint: "
                    f"{_kept(last_checkpoint)}. "
                    f"{_cause(setup, step)}"
                )
    return {name: float(np.mean([m[name] for m in fetched.values()])) for name in metrics}


def _check_finite(validation: dict, step: int, epoch: int, last_checkpoint: int | None) -> None:
    for name, value in validation.items():
        if not math.isfinite(value):
            raise NonFiniteError(
                f"Expected finite numbers, got {name} = {value} of the validation at step {step} "
                f"(epoch {epoch}). Last good checkpoint: {_kept(last_checkpoint)}. To continue, "
                f"{passes.SMALLER_STEPS}"
            )


def _kept(step):
    return f"that of step {step}" if step else "none"


def _cause(setup: Setup, step: int) -> str:
    """Returns how to fix a step that is not finite, after examining its batch."""
    # All rows of the batch: each process has to say the same.
    whole = passes.training_batches(setup, step - 1, Process())
    with contextlib.closing(whole) as batches:
        batch = next(batches)
    for modality, arrays in batch["inputs"].items():
        finite = np.asarray(finite_examples(arrays))
        if broken := batch["index"][~finite].tolist():
            return (
                f"The data is not finite: {modality} of the training examples {broken[:5]} (their "
                f"positions in {setup.dataset.name}). Fix or drop them and prepare the data again."
            )
    return f"Its batch is finite: {passes.SMALLER_STEPS}"


def _collapse_warning(setup: Setup, name: str, epoch: int) -> str:
    remedy = "If it lasts, lower optimizer.learning_rate."
    if name in setup.inputs:
        mean, std = _seen_scale(setup, name)
        if abs(mean) > _FAR * std or not 1 / _FAR < std < _FAR:
            remedy = (
                f"What its encoder gets has mean {mean:.3g} and standard deviation {std:.3g}: "
                f"set modalities.{name}.input.standardize=true, or the encoder's mean and std."
            )
    return textwrap.fill(
        f"warning: {name} has collapsed: the same prediction (or feature) for all validation "
        f"examples (epoch {epoch}). {remedy}",
        _WIDTH,
    )


def _seen_scale(setup: Setup, name: str) -> tuple[float, float]:
    """Returns mean and standard deviation of an input at the layers of its encoder."""
    batch = next(iter(passes.evaluation_batches(setup, "validation", _EXAMPLES)))
    x = batch["inputs"][name]
    if name in setup.model.scales:
        x = standardized(x, *setup.model.scales[name])
    values = x.values[x.mask] if isinstance(x, Series) else x
    encoder = setup.config.modalities[name].encoder
    if isinstance(encoder, NormalizingOptions):
        values = normalize(values, encoder.mean, encoder.std)
    values = np.asarray(values, np.float64)
    return float(values.mean()), float(values.std())
