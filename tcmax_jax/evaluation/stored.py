"""What an evaluation leaves in a folder, and analyses of it without the model."""

import json
from collections.abc import Mapping
from pathlib import Path

from tcmax_jax.evaluation.analysis import analyse, analyse_recalibrated
from tcmax_jax.evaluation.chain import total_correlation_chain
from tcmax_jax.evaluation.outputs import Outputs, read_outputs, write_outputs
from tcmax_jax.files import write_atomically
from tcmax_jax.run_folder import RunFolder

SPLITS = ("validation", "test")
_CHAIN = "total_correlation"


def store(folder: Path, outputs: Mapping[str, Outputs], analyses: Mapping[str, Mapping]) -> None:
    """Writes outputs-<split>.npz of each split, and analysis.json, see `analyse_splits`."""
    for split, own in outputs.items():
        write_outputs(outputs_path(folder, split), own)
    _write_analyses(folder, analyses)


def analyse_splits(outputs: Mapping[str, Outputs]) -> dict:
    """Returns {split: see `analyse`}, with "recalibration", see `analyse_recalibrated`.

    That is there for additive heads, where the validation split is among the outputs.
    """
    analyses = {split: analyse(own) for split, own in outputs.items()}
    others = dict(outputs)
    validation = others.pop("validation", None)
    if validation is None or not validation.modalities:
        return analyses
    for split, found in analyse_recalibrated(validation, others).items():
        analyses[split]["recalibration"] = found
    return analyses


def stored_recalibration(folder: Path) -> dict:
    """Returns the recalibration in analysis.json, see `fit_recalibration`.

    Raises:
      ValueError: the run was not evaluated, or its analyses have none.
    """
    path = RunFolder(folder).analysis
    if not path.exists():
        raise ValueError(
            f"Expected the analyses of an evaluation in {folder}, got none. Write them with "
            "--mode=evaluate."
        )
    found = json.loads(path.read_text()).get("validation", {}).get("recalibration")
    if found is None:
        raise ValueError(
            f"Expected a recalibration in {path}, got none. Heads that are no sum of modalities "
            "have none; for all others --mode=analyse adds it."
        )
    return {name: found[name] for name in ("weights", "offsets")}


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
      What analysis.json holds, see `analyse_splits`; with a chain also "total_correlation", see
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
    analyses = analyse_splits(outputs)
    last = there[-1]
    if chain:
        analyses[last][_CHAIN] = total_correlation_chain(outputs[last], **options)
    elif (path := RunFolder(folder).analysis).exists():
        before = json.loads(path.read_text())
        analyses[last] |= {name: x for name, x in before.get(last, {}).items() if name == _CHAIN}
    _write_analyses(folder, analyses)
    return analyses


def _write_analyses(folder, analyses):
    write_atomically(RunFolder(folder).analysis, json.dumps(analyses, indent=2) + "\n")
