"""Time of a configuration's training step, on its data or on synthetic examples."""

import contextlib
import dataclasses
import itertools
import statistics
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax

from tcmax_jax.data.pipeline import buffered_batches
from tcmax_jax.training import passes
from tcmax_jax.training.feed import Feed
from tcmax_jax.training.measures import used_memory
from tcmax_jax.training.setup import Setup
from tcmax_jax.training.state import TrainState
from tcmax_jax.training.step import training_key

_TIMED = 10
# Batches that wait when the first step has compiled: those of the feed, and of each reader.
_BUFFERED_BY_FEED, _BUFFERED_BY_WORKER = 2, 2


class StepTime(NamedTuple):
    """Seconds until the results of a step were ready, and seconds that it waited for data."""

    seconds: float
    waited: float


class Speed(NamedTuple):
    """Results of a speed test.

    Attributes:
      first_step: seconds of the first step, compilation included; None if it did not end.
      timed: number of steps behind the figures below, 0 if the limit left none.
      seconds: median of a step, waiting for data included; None without a timed step.
      input_wait: share of the time blocked on the pipeline; None without a timed step, or where
        one batch was taken again and again.
      memory: see `tcmax_jax.training.measures.used_memory`.
      unfinished: whether a step was still running when the time was up.
    """

    first_step: float | None
    timed: int
    seconds: float | None
    input_wait: float | None
    memory: dict
    unfinished: bool


def measure_speed(setup: Setup, state: TrainState, *, repeat: bool, limit: float) -> Speed:
    """Times steps of training; leaves nothing behind.

    Args:
      setup: the setup of a run.
      state: the state before the first step, on the host.
      repeat: whether to take the first batch again and again, and so never wait for data.
      limit: seconds after which no more steps are taken, and none is waited for.

    Raises:
      Exception: what a step raises, such as `jax.errors.JaxRuntimeError` without enough memory.
    """
    training, steps = setup.config.training, 1 + _TIMED
    if repeat:  # nobody has to read ahead of a batch that stays
        training = dataclasses.replace(training, workers=0)
    else:
        steps += _BUFFERED_BY_FEED + buffered_batches(training.threads)
        steps += _BUFFERED_BY_WORKER * training.workers
    training = dataclasses.replace(training, epochs=steps)  # as many as steps are enough
    setup = setup._replace(config=dataclasses.replace(setup.config, training=training))
    times, raised, stop = [], [], threading.Event()

    def take():
        try:
            with contextlib.closing(_steps(setup, state, repeat)) as taken:
                for taken_time in itertools.islice(taken, steps):
                    times.append(taken_time)
                    if stop.is_set():
                        return
        except BaseException as error:
            raised.append(error)

    # A thread, since a step that runs cannot be interrupted, only left behind.
    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    thread.join(limit)
    stop.set()
    if raised:
        raise raised[0]
    return summarise(list(times), waits=not repeat, unfinished=thread.is_alive())


def summarise(times: list[StepTime], *, waits: bool, unfinished: bool) -> Speed:
    """Returns a summary of step times: the first step compiles, only the last ones are timed.

    The times are those of the steps that ended; `waits` says whether data was read for them.
    """
    first, *others = times or [None]
    timed = others[-_TIMED:]
    total = sum(time.seconds for time in timed)
    return Speed(
        first_step=first and first.seconds,
        timed=len(timed),
        seconds=statistics.median(time.seconds for time in timed) if timed else None,
        input_wait=sum(time.waited for time in timed) / total if timed and waits else None,
        memory=used_memory(),
        unfinished=unfinished,
    )


def _steps(setup: Setup, state: TrainState, repeat: bool) -> Iterator[StepTime]:
    step_fn = setup.programs.step
    state, key = setup.parallel.replicate((state, training_key(setup.config.seed)))
    with contextlib.closing(passes.training_batches(setup, 0)) as batches:
        feed = Feed(itertools.repeat(next(batches)) if repeat else batches, setup.parallel.put)
        begin = time.monotonic()
        for batch in feed:
            state, metrics = step_fn(state, batch, key)
            jax.block_until_ready((state, metrics))
            yield StepTime(time.monotonic() - begin, feed.waited())
            begin = time.monotonic()
