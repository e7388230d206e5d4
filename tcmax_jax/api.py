"""Training from Python: takes arrays or records, returns a trained classifier.

The numbers are those of the command on the same arrays in files, with the same recipe and seed.
"""

import contextlib
import dataclasses
import functools
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from tcmax_jax import digests
from tcmax_jax.data.clips import SPLITS, Clip, Listing, RawDataError, check_clips
from tcmax_jax.data.datasets import Dataset
from tcmax_jax.data.forms import ArrayForm, Arrays
from tcmax_jax.data.forms.arrays import stored_dtype
from tcmax_jax.data.inputs import ArrayInput, FramesInput, SeriesInput
from tcmax_jax.data.limits import MediaError
from tcmax_jax.data.preparation.checks import check_listed
from tcmax_jax.data.preparation.chunks import Outcome
from tcmax_jax.data.preparation.summary import summarise
from tcmax_jax.data.sources.base import digest
from tcmax_jax.data.sources.memory import CheckedRecords, MemoryData, MemoryRecords
from tcmax_jax.data.splits import check_groups, split_by_group
from tcmax_jax.models import EncoderOptions
from tcmax_jax.run_folder import RunFolder
from tcmax_jax.training import loop
from tcmax_jax.training.config import Config, Modality
from tcmax_jax.training.trained import Trained, classifier, load_trained, why_unpredicted


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
      folder: folder of its run, as the commands write and read it.
      results: what results.json there holds: {"splits": {split: {metric: value}}, ..}.
    """

    folder: Path
    results: Mapping

    @functools.cached_property
    def _trained(self) -> Trained:
        return load_trained(self.folder)

    @functools.cached_property
    def _classify(self):
        return jax.jit(classifier(self._trained))

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes, in the order of the probabilities."""
        return self._trained.class_names

    def predict(self, inputs: Mapping[str, Sequence]) -> dict[str, np.ndarray]:
        """Predicts examples.

        Args:
          inputs: {modality: [N, ...], or N arrays}, as in training.

        Returns:
          {"fused": [N, C]} probabilities, and {modality: [N, C]}, the prediction from each modality
          alone, the others averaged over the validation split.

        Raises:
          RawDataError: a modality is missing, an array does not fit, or an example has no finite
            scores.
        """
        config = self._trained.config
        number, size = _number(inputs, config.modalities), config.training.eval_batch_size
        size = min(size, number)
        parts = []
        for first in range(0, number, size):
            # Filled up with the last one, so that one program is enough.
            rows = np.minimum(np.arange(first, first + size), number - 1)
            batch = {m: _batch(config, m, inputs[m], rows) for m in config.modalities}
            with jax.enable_x64(False):
                part = jax.device_get(self._classify(self._trained.variables, batch))
            for row, reason in why_unpredicted(batch, part, rows).items():
                raise RawDataError(f"example {row}: {reason}")
            parts.append(part)
        whole = jax.tree.map(lambda *arrays: np.concatenate(arrays)[:number], *parts)
        return {name: whole[name] for name in ("fused", *config.modalities) if name in whole}

    def save(self, folder: str | Path) -> "Classifier":
        """Copies the folder of the run, and returns the classifier there.

        Raises:
          FileExistsError: there is such a folder already.
        """
        if Path(folder).exists():
            raise FileExistsError(
                f"Expected a new folder, got {folder}, which exists. Choose another one."
            )
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("lock"))
        return load(folder)


def load(folder: str | Path) -> Classifier:
    """Returns the classifier of the folder of a finished run.

    Raises:
      FileNotFoundError: there is no finished run.
    """
    results = RunFolder(Path(folder)).results
    if not results.is_file():
        raise FileNotFoundError(
            f"Expected the folder of a finished run, got {folder} without {results.name}. Train "
            "first, or correct the path."
        )
    remedy = "Restore it from a copy, or evaluate the run again."
    return Classifier(Path(folder), digests.read_json(results, remedy, ["splits"]))


def fit_arrays(
    inputs: Mapping[str, Sequence],
    labels: Sequence,
    recipe: Config | None = None,
    *,
    encoders: Mapping[str, EncoderOptions | Modality] | None = None,
    splits: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
    ids: Sequence[str] | None = None,
    validation_share: float = 0.15,
    test_share: float = 0.0,
    workdir: str | Path | None = None,
) -> Classifier:
    """Trains a classifier on arrays in memory, and evaluates its best checkpoint.

    Args:
      inputs: {modality: [N, ...], or N arrays that differ in the length of their first axis}.
      labels: N names or numbers of classes.
      recipe: configuration of the run, whose section `data` is replaced; the default one if None.
      encoders: {modality: encoder}, in place of the modalities of the recipe. Arrays of one shape
        go to them as they are, others with a mask (`tcmax_jax.series.Series`); a `Modality` says
        with its encoder which input it gets.
      splits: N names, train, validation or test; None chooses by hash of the ids.
      groups: N names, of a speaker or a patient: examples of a group stay in one split.
      weights: N weights of the examples' losses in training; None for none.
      ids: N names of the examples; their positions if None.
      validation_share: share of the examples (or groups) for validation, where `splits` is None.
      test_share: the same for test.
      workdir: folder of the run, from which a run that was stopped goes on; None for a temporary
        one, which is deleted with the classifier.

    Raises:
      RawDataError: lengths differ, or an array does not fit; names the modality.
      ConfigError: encoders, head and method do not fit together.
    """
    number = _number(inputs, inputs)
    given = {"labels": labels, "splits": splits, "groups": groups, "weights": weights, "ids": ids}
    for name, values in given.items():
        if values is not None and len(values) != number:
            raise RawDataError(
                f"Expected {number} {name}, one for each example, got {len(values)}. Align them."
            )
    values = {m: _column(m, x) for m, x in inputs.items()}
    forms = {m: _form(m, x) for m, x in values.items()}
    clips = [
        Clip(
            id=str(i if ids is None else ids[i]),
            split="train" if splits is None else str(splits[i]),
            label=str(labels[i]),
            place=f"example {i}",
            row=i,
            group="" if groups is None else str(groups[i]),
            weight=1.0 if weights is None else float(weights[i]),
        )
        for i in range(number)
    ]
    if splits is None:
        clips = split_by_group(clips, validation_share=validation_share, test_share=test_share)
    elif unknown := set(map(str, splits)) - set(SPLITS):
        raise RawDataError(
            f"Expected the splits {', '.join(SPLITS)}, got {sorted(unknown)[0]!r}. Correct it."
        )
    listing = Listing(clips, sorted({c.label for c in clips if c.split == "train"}))
    check_clips(listing, Path("the arrays"))
    check_groups(clips)
    check_listed(listing)
    for m, form in forms.items():
        for i in range(number):
            _stored(form, values[m][i], m, i)
    dataset = _dataset(listing, forms, values, weights)
    return _fit(recipe, encoders, forms, dataset, workdir)


def fit_records(
    sources: Mapping[str, Sequence],
    class_names: Sequence[str],
    recipe: Config | None = None,
    *,
    encoders: Mapping[str, EncoderOptions | Modality] | None = None,
    forms: Mapping[str, ArrayForm] | None = None,
    workdir: str | Path | None = None,
) -> Classifier:
    """Trains a classifier on anything that gives records by index, without copies of it.

    Args:
      sources: {"train", "validation" and, if there is one, "test": source}. A source has a length,
        and source[i] is {"label": name or number of the class, modality: array}, with "weight" if
        examples are weighed; such as a Hugging Face data set in the format "numpy".
      class_names: names of the classes, in the order of their numbers.
      recipe: as in `fit_arrays`.
      encoders: as in `fit_arrays`.
      forms: {modality: `Arrays` with shape, dtype and whether the length varies}; None takes those
        of the first record, all others having the same shape.
      workdir: as in `fit_arrays`.

    Raises:
      RawDataError: a source is missing or empty, or a record does not fit.
      ConfigError: encoders, head and method do not fit together.
    """
    for split in ("train", "validation"):
        if split not in sources or not len(sources[split]):
            raise RawDataError(
                f"Expected records of train and validation, got {', '.join(sources) or 'none'}"
                f"{f', and nothing in {split}' if split in sources else ''}. Add {split}."
            )
    first = sources["train"][0]
    names = [name for name in first if name not in ("label", "weight", "id")]
    wanted = encoders or (recipe.modalities if recipe else names)
    forms = forms or {m: _form(m, [np.asarray(first[m])]) for m in names if m in wanted}
    records = {
        split: CheckedRecords(source, forms, class_names, split)
        for split, source in sources.items()
    }
    sizes = {split: len(source) for split, source in sources.items()}
    about = {"sizes": sizes, "classes": list(class_names), "forms": repr(sorted(forms.items()))}
    dataset = Dataset(f"memory/{digest(about)}", list(class_names), {}, records)
    return _fit(recipe, encoders, forms, dataset, workdir)


def _fit(recipe, encoders, forms, dataset: Dataset, workdir) -> Classifier:
    config = recipe or Config(name="memory")
    modalities = config.modalities
    if encoders is not None:
        modalities = {m: _modality(forms, m, x) for m, x in encoders.items()}
    config = dataclasses.replace(
        config, data=MemoryData(stored=dict(forms)), modalities=dict(modalities)
    )
    with contextlib.ExitStack() as temporary:
        if workdir is None:
            folder = temporary.enter_context(tempfile.TemporaryDirectory(prefix="tcmax_jax-"))
            workdir = Path(folder) / "run"
        with jax.enable_x64(False):  # Runs have numbers of 32 bits.
            results = loop.train(config, Path(workdir), None, dataset=dataset)
        fitted = Classifier(Path(workdir), results)
        weakref.finalize(fitted, temporary.pop_all().close)
    return fitted


def _dataset(listing: Listing, forms, values, weights) -> Dataset:
    outcomes = [Outcome(c.id, c.split, c.label, weight=c.weight) for c in listing.clips]
    summary = summarise(listing, outcomes)
    numbers = {name: number for number, name in enumerate(listing.class_names)}
    labels = [numbers[clip.label] for clip in listing.clips]
    rows = {split: [c.row for c in listing.clips if c.split == split] for split in SPLITS}
    sources = {
        split: MemoryRecords(forms, values, of_split, labels, weights)
        for split, of_split in rows.items()
        if of_split
    }
    content = b"".join(np.ascontiguousarray(x).tobytes() for m in sorted(values) for x in values[m])
    name = digest({"forms": repr(sorted(forms.items())), "list": summary["checksum"]}, content)
    return Dataset(f"memory/{name}", listing.class_names, summary, sources)


def _number(inputs: Mapping[str, Sequence], needed) -> int:
    """Returns the number of examples; raises RawDataError for missing or unequal modalities."""
    if missing := [m for m in needed if m not in inputs]:
        raise RawDataError(
            f"Expected arrays of {', '.join(needed)}, got {', '.join(inputs) or 'none'}: no "
            f"{missing[0]}. Add it."
        )
    lengths = {m: len(inputs[m]) for m in needed}
    if len(set(lengths.values())) != 1 or not max(lengths.values()):
        raise RawDataError(
            f"Expected as many examples of each modality, one or more, got {lengths}. Align them."
        )
    return next(iter(lengths.values()))


def _column(modality: str, values) -> np.ndarray | list[np.ndarray]:
    """Returns [N, ...] where all arrays have one shape, N arrays otherwise."""
    if isinstance(values, np.ndarray):
        return values
    arrays = [np.asarray(x) for x in values]
    return np.stack(arrays) if len({x.shape for x in arrays}) == 1 else arrays


def _form(modality: str, values) -> Arrays:
    examples = values if isinstance(values, list) else list(map(np.asarray, values[:1]))
    for i, array in enumerate(examples):
        if stored_dtype(array.dtype) is None or not array.size:
            raise RawDataError(
                f"{modality} of example {i}: Expected an array of numbers, got "
                f"{list(array.shape)} of {array.dtype}. Convert it."
            )
    if isinstance(values, np.ndarray):
        return Arrays(shape=values.shape[1:], dtype=stored_dtype(values.dtype), varying=False)
    try:
        return Arrays().of_arrays((f"example {i}", x) for i, x in enumerate(values))
    except RawDataError as error:
        raise RawDataError(f"{modality}: {error}") from error


def _stored(form, value, modality: str, row: int) -> np.ndarray:
    try:
        return form.stored(np.asarray(value), f"{modality} of example {row}")
    except MediaError as error:
        raise RawDataError(str(error)) from error


def _modality(forms, modality: str, encoder: EncoderOptions | Modality) -> Modality:
    """Returns the encoder with an input that passes arrays unchanged, series with a mask."""
    if modality not in forms:
        raise RawDataError(
            f"Expected encoders of {', '.join(forms)}, got one of {modality}. Add its arrays."
        )
    if isinstance(encoder, Modality):
        return encoder
    form = forms[modality]
    ids = len(form.shape) == 1 and np.issubdtype(form.dtype, np.integer)
    pictures = len(form.shape) == 4 and form.shape[-1] == 3 and form.dtype == "uint8"
    to_input = FramesInput(size=None) if pictures else ArrayInput()
    return Modality(input=SeriesInput() if form.varying or ids else to_input, encoder=encoder)


def _batch(config: Config, modality: str, values, rows):
    """Returns the encoder's input of some examples."""
    to_input, form = config.inputs[modality], config.data.forms[modality]
    examples = [to_input(_stored(form, values[i], modality, i), None) for i in rows]
    return jax.tree.map(lambda *arrays: np.stack(arrays), *examples)
