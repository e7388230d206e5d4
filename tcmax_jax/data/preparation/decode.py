"""Decoding of chunks by worker processes, or by several machines with Apache Beam."""

import collections
import concurrent.futures
import functools
import itertools
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool

from tcmax_jax.cores import usable_cores
from tcmax_jax.data.clips import RawDataError
from tcmax_jax.data.forms import Form
from tcmax_jax.data.preparation.chunks import Chunk, Outcome, decode_chunk, read_report
from tcmax_jax.data.workers import begin_children, end_with_parent

# Enough that no process waits, and few enough that an error ends the work soon.
_CHUNKS_AHEAD_PER_PROCESS = 2


def decode_chunks(
    stored: Mapping[str, Form], chunks: Sequence[Chunk], processes: int
) -> Iterator[list[Outcome]]:
    """Decodes chunks into their files, in order; each process holds one chunk in memory.

    Args:
      stored: {modality: what is stored of it}.
      chunks: the chunks.
      processes: number of processes; 0 takes all cores that this process may use.

    Yields:
      What became of the clips of each chunk.

    Raises:
      RuntimeError: a process died.
    """
    decode = functools.partial(decode_chunk, stored)
    processes = min(processes or usable_cores(), len(chunks))
    if processes <= 1:
        yield from map(decode, chunks)
        return
    # Spawned, because a fork of a process that runs JAX's threads may hang.
    context = multiprocessing.get_context("spawn")
    begin_children()
    place = chunks[0].clips[0].place
    with concurrent.futures.ProcessPoolExecutor(processes, context, end_with_parent) as pool:
        try:
            futures = (pool.submit(decode, chunk) for chunk in chunks)
            ahead = itertools.islice(futures, processes * _CHUNKS_AHEAD_PER_PROCESS)
            pending = collections.deque(ahead)
            for chunk in chunks:
                outcomes = pending.popleft().result()
                place = chunk.clips[-1].place
                yield outcomes
                pending.extend(itertools.islice(futures, 1))
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"Expected decoded clips, got a decoding process that died soon after {place}. "
                "Look at the files there, or use fewer processes if memory ran out; what was "
                "decoded is kept."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def decode_with_beam(
    stored: Mapping[str, Form], chunks: Sequence[Chunk], options: Sequence[str]
) -> list[list[Outcome]]:
    """Decodes chunks as `decode_chunks` does, with the machines of a Beam runner.

    The workers need this package, the raw data and the folder of the chunks under the same paths.

    Args:
      stored: see `decode_chunks`.
      chunks: see `decode_chunks`.
      options: options of the pipeline, such as "--runner=FlinkRunner".

    Raises:
      RawDataError: Apache Beam is not installed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ModuleNotFoundError as error:
        raise RawDataError(
            "Expected Apache Beam for data.beam, got none installed. Run "
            "pip install 'tcmax_jax[beam]', or leave data.beam out."
        ) from error
    # Explicit options, since without any Beam reads the command line of this process.
    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        _ = (
            pipeline
            | "Chunks" >> beam.Create(list(chunks))
            | "Spread" >> beam.Reshuffle()
            | "Decode" >> beam.Map(functools.partial(decode_chunk, stored))
        )
    return [read_report(chunk.path) for chunk in chunks]
