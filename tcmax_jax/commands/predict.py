"""Predictions of a trained classifier on new clips."""

import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax.errors import ScopeParamShapeError
from tqdm import tqdm

from tcmax_jax.commands.modes import Options, Outcome
from tcmax_jax.commands.recipe import run_config
from tcmax_jax.data.clips import Clip, RawDataError
from tcmax_jax.data.forms import Form
from tcmax_jax.data.preparation.chunks import chunks_of, examples_of
from tcmax_jax.data.preparation.decode import decode_chunks
from tcmax_jax.data.sources.manifest import read_unlabelled
from tcmax_jax.evaluation.quantities import Name, number
from tcmax_jax.evaluation.tables import csv_table
from tcmax_jax.evaluation.text import recalibration_text
from tcmax_jax.files import write_atomically
from tcmax_jax.packages import DECODERS, versions
from tcmax_jax.run_folder import RunFolder
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.tree import ConfigError
from tcmax_jax.training.locks import temporary_folder
from tcmax_jax.training.processes import is_primary, say
from tcmax_jax.training.trained import Trained, classifier, load_trained, why_unpredicted

_COLUMNS, _REASON = ("id", "prediction", "probability"), "reason"


class Prediction(NamedTuple):
    """The predictions for the clips of a list.

    Attributes:
      clips: all clips of the list.
      class_names: names of the C classes.
      probabilities: {"fused" or modality: {id of a clip: [C]}} of the clips that were predicted.
      reasons: {id: why, with file and place} of all others.
    """

    clips: Sequence[Clip]
    class_names: Sequence[str]
    probabilities: Mapping[str, Mapping[str, np.ndarray]]
    reasons: Mapping[str, str]


def predict(options: Options) -> Outcome:
    """Predicts a list of new clips."""
    config = run_config(options)
    prediction = predict_file(
        Path(options.workdir),
        Path(options.clips),
        Path(options.predictions),
        allow_skipped=options.allow_skipped,
        outside_paths=getattr(config.data, "outside_paths", False),
        recalibrated=options.recalibrated,
    )
    return Outcome(f"{prediction_text(prediction)}\nwritten to {options.predictions}")


def predict_file(
    workdir: Path,
    clips: Path,
    predictions: Path,
    *,
    allow_skipped: bool = False,
    outside_paths: bool = False,
    recalibrated: bool = False,
) -> Prediction:
    """Predicts the clips of a CSV file with the best checkpoint of a run, and writes a CSV file.

    Its columns are id, prediction, probability; one a class, the fused probability; where the
    checkpoint was evaluated one a class of each modality (`audio:dog`), the prediction from that
    modality alone, the others averaged over the validation split; and with `allow_skipped` the
    reason why a clip was left out. See `class_heading` and `tcmax_jax.evaluation.tables.csv_table`
    for how names stand in it.

    Args:
      workdir: folder of a run that has a checkpoint; its data is not needed.
      clips: CSV file, see `tcmax_jax.data.sources.manifest.read_unlabelled`.
      predictions: the file to write; it is there whole or not at all.
      allow_skipped: whether clips that cannot be decoded, or have inputs or scores that are not
        finite, get a row without a prediction.
      outside_paths: whether paths of the list may lead out of its folder.
      recalibrated: see `tcmax_jax.training.trained.load_trained`.

    Raises:
      ValueError: there is no recalibration of the checkpoint.
      ConfigError: there is no run in the folder, or one on generated data.
      RawDataError: a list that does not fit, or a clip that cannot be decoded or predicted.
      FileNotFoundError: the run has no checkpoint yet, or there is no folder to write to.
      OSError: the file is a folder, cannot be written, or is one that is read.
      CheckpointError: the best checkpoint is damaged.
    """
    trained = load_trained(workdir, recalibrated=recalibrated)
    if trained.recalibration:
        say(recalibration_text(trained.recalibration["judged"]))
    forms = _forms(trained.config)
    listed = read_unlabelled(
        clips, trained.class_names, outside_paths=outside_paths, modalities=tuple(forms)
    )
    _check_files(listed, forms)
    files = [form.file(clip.of(m)) for clip in listed for m, form in forms.items()]
    read = [file for file in files if file is not None]
    _check_target(predictions, [clips, *read], RunFolder(workdir))
    # Beside the result: the folder of temporary files is often small.
    with temporary_folder(predictions.parent, ".decoded-") as folder:
        prediction = _predict(trained, listed, forms, folder, allow_skipped)
    if is_primary():
        write_atomically(predictions, predictions_csv(prediction, with_reasons=allow_skipped))
    return prediction


def _check_target(predictions: Path, read: Sequence[Path], run: RunFolder) -> None:
    """Checks, before any work, that the file can be written and is no input or run file."""
    if not predictions.parent.is_dir():
        raise FileNotFoundError(
            f"Expected a folder for the predictions, got {predictions.parent}, which does not "
            "exist. Make it, or choose another file."
        )
    if predictions.is_dir():
        raise IsADirectoryError(
            f"Expected a file for the predictions, got the folder {predictions}. Name a file in it."
        )
    if not os.access(predictions.parent, os.W_OK):
        raise PermissionError(
            f"Expected a folder that can be written for the predictions, got {predictions.parent}. "
            "Choose another file."
        )
    target = predictions.resolve()
    if target in {path.resolve() for path in read} or run.owns(target):
        raise FileExistsError(
            f"Expected another file for the predictions than those that are read, got "
            f"{predictions}, which is the list, one of its clips, or a file of the run. Choose "
            "another one."
        )


def predictions_csv(prediction: Prediction, *, with_reasons: bool) -> str:
    """Returns the text of a CSV file with a row for each clip, see `predict_file`."""
    parts = {n: rows for n, rows in prediction.probabilities.items() if n != "fused"}
    of_classes = [
        class_heading(part, name, parts)
        for part in ("fused", *parts)
        for name in prediction.class_names
    ]
    header = [*_COLUMNS, *of_classes]
    rows = [header + [_REASON] * with_reasons]
    for clip in prediction.clips:
        row, reason = [clip.id], prediction.reasons.get(clip.id, "")
        if reason:
            row += [""] * (len(header) - 1)
        else:
            fused = prediction.probabilities["fused"][clip.id]
            best = int(fused.argmax())
            row += [prediction.class_names[best], fused[best], *fused]
            row += [p for values in parts.values() for p in values[clip.id]]
        rows.append(row + [reason] * with_reasons)
    return csv_table(rows)


def class_heading(part: str, name: str, modalities: Collection[str]) -> str:
    """Returns the column heading of a class's probabilities, unique within the file.

    That of a modality is `audio:dog`, where a colon in the modality's own name is %3A, and a
    percent sign %25. The fused one is the name of the class, or `fused:id` where the name is a
    heading of its own, or begins with a modality, or fused, and a colon.

    Args:
      part: "fused" or a modality.
      name: of the class.
      modalities: all with probabilities of their own.

    Example:
      >>> class_heading("audio", "dog", ["audio"]), class_heading("fused", "dog", ["audio"])
      ('audio:dog', 'dog')
      >>> class_heading("fused", "id", []), class_heading("fused", "audio:dog", ["audio"])
      ('fused:id', 'fused:audio:dog')
    """
    prefixes = {
        each: each.replace("%", "%25").replace(":", "%3A") + ":" for each in ("fused", *modalities)
    }
    heading = prefixes[part] + name
    taken = name in (*_COLUMNS, _REASON) or name.startswith(tuple(prefixes.values()))
    return name if part == "fused" and not taken else heading


def prediction_text(prediction: Prediction) -> str:
    """Returns a line on how many clips were predicted, and the accuracy on labelled ones."""
    fused = prediction.probabilities.get("fused", {})
    text = f"predicted {len(fused)} of {len(prediction.clips)} clips"
    labelled = [clip for clip in prediction.clips if clip.label and clip.id in fused]
    if labelled:
        right = [prediction.class_names[fused[c.id].argmax()] == c.label for c in labelled]
        share = number(Name("accuracy"), np.mean(right))
        text += f"; accuracy {share} % of the {len(labelled)} that have a label"
    return text


def _other_decoders(before: Mapping[str, str]) -> str:
    """Returns the decoders whose version differs from that of the training data, as text."""
    now = versions()
    return ", ".join(
        f"{name} {before[name]}, here {now.get(name, 'none')}"
        for name in DECODERS
        if name in before and before[name] != now.get(name)
    )


def _predict(trained: Trained, clips, forms, folder: Path, allow_skipped: bool) -> Prediction:
    if changed := _other_decoders(trained.decoded_with):
        say(
            f"warning: the training data was decoded with other versions: {changed}. Sound may "
            "begin or end some milliseconds elsewhere."
        )
    say("decoding the clips, and compiling the classifier ...")
    classify = jax.jit(classifier(trained))
    variables = jax.device_put(trained.variables)
    chunks = chunks_of(clips, folder)
    rows = len(chunks[0].clips)  # All others have as many or fewer.
    decoded = decode_chunks(forms, chunks, getattr(trained.config.data, "processes", 1))
    probabilities, reasons = {}, {}
    with tqdm(total=len(clips), unit="clip", file=sys.stderr, disable=None) as bar:
        for chunk, outcomes in zip(chunks, decoded, strict=True):
            skipped = {outcome.id: outcome.message for outcome in outcomes if outcome.reason}
            reasons |= _allowed(skipped, allow_skipped)
            ids, inputs = _inputs(trained.config, examples_of(forms, chunk))
            if ids:
                # Filled up with the last one, so that one program is enough.
                take = np.minimum(np.arange(rows), len(ids) - 1)
                padded = {modality: _rows(x, take) for modality, x in inputs.items()}
                result = _classify(classify, variables, padded, ids)
                why = why_unpredicted(padded, result, ids)
                places = {clip.id: clip.place for clip in chunk.clips}
                skipped = {name: f"{places[name]} ({name}): {text}" for name, text in why.items()}
                reasons |= _allowed(skipped, allow_skipped)
                for name, values in _by_clip(result, inputs, ids, why).items():
                    probabilities.setdefault(name, {}).update(values)
            chunk.path.unlink()
            bar.update(len(outcomes))
    return Prediction(clips, trained.class_names, probabilities, reasons)


def _inputs(config: Config, examples: Iterator[tuple[str, dict]]) -> tuple[list, dict]:
    """Returns the ids of examples, and the encoders' inputs {modality: [number, ...]}."""
    ids, values = [], {name: [] for name in config.inputs}
    for name, record in examples:
        ids.append(name)
        for modality, to_input in config.inputs.items():
            values[modality].append(to_input(record[modality], None))
    for modality, arrays in values.items():
        if len({_shapes(array) for array in arrays}) > 1:
            raise RawDataError(
                f"Expected pictures of one size for {modality}, since the run keeps theirs "
                f"(modalities.{modality}.input.size is null), got "
                f"{' and '.join(sorted({_shapes(array) for array in arrays}))}. Bring the clips to "
                "the size of those that the run was trained on."
            )
    return ids, {
        modality: jax.tree.map(lambda *each: np.stack(each), *examples)
        for modality, examples in values.items()
        if examples
    }


def _rows(batch, take):
    return jax.tree.map(lambda array: array[take], batch)


def _shapes(example, axis: int = 0) -> str:
    """Returns the shapes of the arrays of an input, from an axis on, as text."""
    return " and ".join(str([*array.shape[axis:]]) for array in jax.tree.leaves(example))


def _classify(classify, variables, inputs, ids) -> dict:
    try:
        return jax.device_get(classify(variables, inputs))
    except ScopeParamShapeError as error:
        shapes = ", ".join(f"{m} {_shapes(batch, 1)}" for m, batch in inputs.items())
        raise RawDataError(
            f"Expected clips of the shape of those that the run was trained on, got {shapes} "
            f"({ids[0]} and others). Bring them to the same size."
        ) from error


def _by_clip(result, modalities, ids, left_out) -> dict:
    # Compiled functions sort names; here they stand as in the configuration.
    names = [name for name in ("fused", *modalities) if name in result]
    return {
        name: {
            clip: row for clip, row in zip(ids, result[name], strict=False) if clip not in left_out
        }
        for name in names
    }


def _allowed(skipped: dict[str, str], allow_skipped: bool) -> dict[str, str]:
    """Returns {id: why there is no prediction}; raises RawDataError if that is not allowed."""
    if skipped and not allow_skipped:
        raise RawDataError(
            f"{next(iter(skipped.values()))} Or give such clips a row without a prediction: "
            "--allow_skipped."
        )
    return skipped


def _forms(config: Config) -> dict[str, Form]:
    """Returns {modality: stored form} of the modalities that the classifier reads."""
    if not hasattr(config.data, "stored"):
        raise ConfigError(
            f"Expected a run on clips, got one on the data set {config.data.kind}, whose examples "
            "are generated: that data set does not define how to read media. Train on a list of "
            "your own clips (--config.data.kind=manifest, docs/tutorial.md)."
        )
    return {name: config.data.forms[name] for name in config.modalities}


def _check_files(clips: Sequence[Clip], forms: Mapping[str, Form]) -> None:
    for name, form in forms.items():
        form.check_listed([clip.of(name) for clip in clips])
        for clip in clips:
            if form.file(clip.of(name)) is None:
                raise RawDataError(
                    f"{clip.place}: Expected a file for {name}, got none. Add the column path "
                    f"(or {name}_path, or audio_path for sound) and fill it."
                )
