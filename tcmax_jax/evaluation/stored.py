"""What an evaluation leaves in a folder, and analyses of it without the model."""

import json
from collections.abc import Mapping
from pathlib import Path

from tcmax_jax.evaluation.analysis import analyse
from tcmax_jax.evaluation.chain import total_correlation_chain
from tcmax_jax.evaluation.outputs import Outputs, read_outputs, write_outputs
from tcmax_jax.files import write_atomically

SPLITS = ("validation", "test")
_CHAIN = "total_correlation"


def store(folder: Path, outputs: Mapping[str, Outputs]) -> None:
    """Writes outputs-<split>.npz of each split, and analysis.json."""
    for split, own in outputs.items():
        write_outputs(outputs_path(folder, split), own)
    _write_analyses(folder, {split: analyse(own) for split, own in outputs.items()})


def outputs_path(folder: Path, split: str) -> Path:
    """Returns where the outputs of a split are."""
    return folder / f"outputs-{split}.npz"


def analyse_stored(folder: Path, *, chain: bool = False, **options) -> dict:
    """Makes analysis.json anew from the stored outputs; neither model nor data is needed.

    Args:
      folder: of a run that was evaluated.
      chain: whether to estimate the chain of total correlation of the last split as well, which
        fits seven small networks; one that is there already is kept.
      **options: of `tcmax_jax.estimators.tc_report`.

    Returns:
      What analysis.json holds, {split: see `analyse`}; with a chain also "total_correlation", see
      `total_correlation_chain`.

    Raises:
      ValueError: there are no outputs, or they are damaged or too few.
    """
    there = [split for split in SPLITS if outputs_path(folder, split).exists()]
    if not there:
        raise ValueError(
            f"Expected outputs of an evaluation in {folder}, got none. Write them with "
            "--mode=evaluate."
        )
    outputs = {split: read_outputs(outputs_path(folder, split)) for split in there}
    analyses = {split: analyse(own) for split, own in outputs.items()}
    last = there[-1]
    if chain:
        analyses[last][_CHAIN] = total_correlation_chain(outputs[last], **options)
    elif (path := folder / "analysis.json").exists():
        before = json.loads(path.read_text())
        analyses[last] |= {name: x for name, x in before.get(last, {}).items() if name == _CHAIN}
    _write_analyses(folder, analyses)
    return analyses


def _write_analyses(folder, analyses):
    write_atomically(folder / "analysis.json", json.dumps(analyses, indent=2) + "\n")
