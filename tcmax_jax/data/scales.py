"""Mean and standard deviation of each modality over the training split."""

import contextlib
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tcmax_jax import digests
from tcmax_jax.data.forms import Form
from tcmax_jax.data.inputs import Input
from tcmax_jax.data.pipeline import takes_batches
from tcmax_jax.data.sources.base import digest
from tcmax_jax.files import file_name, json_text, parse_json
from tcmax_jax.series import Series
from tcmax_jax.user_text import printable

_BATCH = 256
_LEAST = 1e-6  # of a standard deviation in relation to the mean; below, a channel is constant


class Scale(NamedTuple):
    """What the inputs of a modality are standardised by, see `tcmax_jax.models.classifier`.

    Attributes:
      mean: of each channel, which is the last axis of the input.
      std: standard deviation of each channel; 1 of a constant one.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def is_standardized(to_input: Input, form: Form) -> bool:
    """Returns whether the inputs of a modality are to be standardised."""
    if to_input.standardize is None:
        return np.issubdtype(form.dtype, np.floating)
    return to_input.standardize


def measure_scales(
    source: Sequence,
    inputs: Mapping[str, Input],
    forms: Mapping[str, Form],
    folder: Path | None = None,
) -> dict[str, Scale]:
    """Returns {modality: scale} of those that are standardised, measured once.

    mean_c and std_c are taken over all entries of channel c of the inputs of the training split, as
    evaluation makes them; of series over their true steps. The arithmetic is float64.

    Args:
      source: records of the training split.
      inputs: {modality: how its input is made}.
      forms: {modality: what is stored of it}.
      folder: in whose folder `scales` they are kept for the next start; None for nowhere.
    """
    wanted = {m: x for m, x in inputs.items() if is_standardized(x, forms[m])}
    files = {m: _file(folder, m, to_input) for m, to_input in wanted.items()}
    # Whatever is not as it was written is measured anew.
    scales = {m: _read(file) for m, file in files.items() if file and digests.is_known(file)}
    missing = {m: x for m, x in wanted.items() if m not in scales}
    if missing:
        text = f"measuring the scale of {', '.join(missing)} ..."
        print(printable(text), file=sys.stderr, flush=True)
        scales |= _measure(source, missing)
        for m in (m for m in missing if files[m]):
            _write(files[m], scales[m])
    return {m: scales[m] for m in wanted}


def _measure(source, inputs) -> dict[str, Scale]:
    totals = {m: (0, 0.0, 0.0) for m in inputs}
    whole = takes_batches(source, inputs)
    for first in range(0, len(source), _BATCH):
        positions = np.arange(first, min(first + _BATCH, len(source)))
        records = source.batch(positions) if whole else [source[int(i)] for i in positions]
        for m, to_input in inputs.items():
            batch = (
                [to_input.of_batch(records[m])]
                if whole
                else [to_input(record[m], None) for record in records]
            )
            totals[m] = _joined(totals[m], _moments(batch, whole))
    return {m: _scale(*total) for m, total in totals.items()}


def _moments(inputs, batched: bool) -> tuple:
    """Returns number, mean and sum of squared deviations by channel, of a list of inputs."""
    rows = np.concatenate([_rows(x, batched) for x in inputs]).astype(np.float64)
    mean = rows.mean(axis=0)
    return len(rows), mean, np.square(rows - mean).sum(axis=0)


def _rows(x, batched: bool):
    """Returns all entries of an input, or of a batch of them, as [entries, channels]."""
    if isinstance(x, Series):
        # Steps may be single numbers, and so may be whole examples.
        has_channels, x = x.values.ndim > x.mask.ndim, x.values[x.mask]
    else:
        has_channels = np.ndim(x) > batched
    return np.reshape(x, (-1, np.shape(x)[-1] if has_channels else 1))


def _joined(one, other):
    """Returns the moments of two samples together (Chan et al., 1979)."""
    (n, mean, squares), (k, mean_k, squares_k) = one, other
    shift = mean_k - mean
    total = n + k
    return total, mean + shift * k / total, squares + squares_k + shift**2 * n * k / total


def _scale(number, mean, squares) -> Scale:
    std = np.sqrt(squares / number)
    std = np.where(std > _LEAST * np.maximum(np.abs(mean), 1e-30), std, 1.0)
    return Scale(tuple(mean.tolist()), tuple(std.tolist()))


def _file(folder, modality, to_input) -> Path | None:
    if folder is None:
        return None
    fields = dataclasses.asdict(to_input) | {"modality": modality}
    return folder / "scales" / file_name(f"{modality}-{digest(fields)}.json")


def _read(file: Path) -> Scale:
    content = parse_json(file.read_text())
    return Scale(tuple(content["mean"]), tuple(content["std"]))


def _write(file: Path, scale: Scale) -> None:
    # Data that others share is often read-only; then it is measured at each start.
    with contextlib.suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        digests.write(file, json_text(scale._asdict(), indent=None))
