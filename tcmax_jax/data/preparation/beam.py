"""Decoding of chunks by an Apache Beam pipeline, where one machine is too small."""

import functools
from collections.abc import Mapping, Sequence

from tcmax_jax.data.clips import RawDataError
from tcmax_jax.data.forms import Form
from tcmax_jax.data.preparation.chunks import Chunk, Outcome, decode_chunk, read_report


def decode_with_beam(
    stored: Mapping[str, Form], chunks: Sequence[Chunk], options: Sequence[str]
) -> list[list[Outcome]]:
    """Decodes chunks into their files with the machines of a Beam runner.

    The workers need this package, the raw data and the folder of the chunks under the same paths.

    Args:
      stored: {modality: what is stored of it}.
      chunks: the chunks.
      options: options of the pipeline, such as "--runner=FlinkRunner".

    Returns:
      What became of the clips of each chunk.

    Raises:
      RawDataError: Apache Beam is not installed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ModuleNotFoundError as error:
        raise RawDataError(
            "expected Apache Beam for data.beam, got none installed; run "
            "pip install 'tcmax_jax[beam]', or leave data.beam out"
        ) from error
    # Explicit options, since without any Beam reads the command line of this process.
    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        _ = (
            pipeline
            | "Chunks" >> beam.Create(list(chunks))
            | "Spread" >> beam.Reshuffle()
            | "Decode" >> beam.Map(functools.partial(_decode, stored))
        )
    return [read_report(chunk.path) for chunk in chunks]


def _decode(stored, chunk) -> None:
    decode_chunk(stored, chunk)
