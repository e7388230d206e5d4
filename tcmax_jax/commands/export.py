"""Export of a trained classifier to files that can be used without tcmax_jax."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tcmax_jax.commands.modes import Options, Outcome
from tcmax_jax.commands.recipe import run_config
from tcmax_jax.evaluation.text import recalibration_text
from tcmax_jax.files import json_text
from tcmax_jax.series import Series
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.tree import ConfigError, to_dict
from tcmax_jax.training.locks import temporary_folder
from tcmax_jax.training.processes import say
from tcmax_jax.training.trained import Trained, classifier, load_trained

PLATFORMS = ("cpu", "cuda", "tpu")
FILES = _PARAMS, _ABOUT, _FUNCTION = "params.npz", "model.json", "classifier.jax_export"


def export(options: Options) -> Outcome:
    """Exports the classifier as files that can be used without tcmax_jax."""
    run_config(options)
    say(f"exporting the classifier for {', '.join(PLATFORMS)} ...")
    write_export(Path(options.workdir), Path(options.export), recalibrated=options.recalibrated)
    return Outcome(f"written to {options.export}: {', '.join(FILES)}")


def write_export(workdir: Path, folder: Path, *, recalibrated: bool = False) -> None:
    """Writes the best checkpoint of a run as a folder of three files, atomically.

    params.npz: {path: array} of all parameters and statistics, such as
      "params/head/audio/kernel"; nothing is pickled.
    model.json: classes, inputs and outputs, and the sections of the configuration that say how
      inputs are made.
    classifier.jax_export: the function inputs -> probabilities with its parameters, as
      `jax.export.deserialize` reads it: {modality: [B, ...]} -> {"fused": [B, C]} and, where the
      checkpoint was evaluated, {modality: [B, C]} of the prediction from the modality alone, the
      others averaged over the validation split; any B, on any of `PLATFORMS`. A series is
      {"values": [B, T, ...], "mask": [B, T] bool}. All are NaN for an example with an input that
      is not finite: look for that before a class is chosen, as argmax does not.

    Args:
      workdir: folder of a run that has a checkpoint; its data is not needed.
      folder: folder to write, which must not exist or must be empty.
      recalibrated: see `tcmax_jax.training.trained.load_trained`.

    Raises:
      ValueError: there is no recalibration of the checkpoint.
      ConfigError: there is no run in the folder, or one whose shape of inputs is not known.
      FileExistsError: there is something in the folder.
      FileNotFoundError: the run has no checkpoint yet.
      CheckpointError: the best checkpoint is damaged.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"Expected a new or empty folder for the export, got {folder}, which holds something. "
            "Choose another --export, or remove it."
        )
    trained = load_trained(workdir, recalibrated=recalibrated)
    if trained.recalibration:
        say(recalibration_text(trained.recalibration["judged"]))
    inputs = input_shapes(trained.config)
    exported = export_function(trained, inputs)
    about = description(trained, inputs, exported)
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder.parent, ".export-") as temporary:
        np.savez(temporary / _PARAMS, **flat(trained.variables))
        (temporary / _ABOUT).write_text(json_text(about) + "\n")
        (temporary / _FUNCTION).write_bytes(exported.serialize())
        temporary.replace(folder)


def export_function(trained: Trained, inputs: dict) -> jax.export.Exported:
    """Returns the function inputs -> probabilities of a classifier, for any number of rows.

    The parameters become part of it; `inputs` are the `input_shapes` of the configuration.
    """
    (rows,) = jax.export.symbolic_shape("rows")
    shapes = jax.tree.map(lambda x: x.update(shape=(rows, *x.shape)), inputs)
    classify, variables = classifier(trained), trained.variables

    def function(inputs):
        # Plain dictionaries outside, since nobody there has this package.
        series = {m: Series(**x) if isinstance(x, dict) else x for m, x in inputs.items()}
        return classify(variables, series)

    function = jax.jit(function)
    return jax.export.export(function, platforms=PLATFORMS)(shapes)


def input_shapes(config: Config) -> dict[str, Any]:
    """Returns {modality: shape and dtype of one example} as the transforms of evaluation give it.

    A series is {"values": .., "mask": ..} of these.

    Raises:
      ConfigError: pictures keep the size that they happen to have.
    """
    shapes = {}
    for name, modality in config.modalities.items():
        form = config.data.forms[name]
        if None in modality.input.shape(form):
            raise ConfigError(
                f"Expected modalities.{name}.input.size, which the exported function has to know, "
                "got null: each clip keeps its own. Train with a size."
            )
        example = jax.eval_shape(functools.partial(modality.input.fitted(form).zeros, form))
        shapes[name] = example._asdict() if isinstance(example, Series) else example
    return shapes


def description(trained: Trained, inputs: dict, exported: jax.export.Exported) -> dict:
    """Returns the content of model.json."""
    config = to_dict(trained.config)
    outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    array = lambda x, *shape: {"shape": ["rows", *shape], "dtype": str(x.dtype)}
    return {
        "name": trained.config.name,
        "dataset": trained.dataset,
        "step": trained.step,
        "class_names": list(trained.class_names),
        "method": config["method"],
        "head": trained.config.model.fusion.label(),
        "recalibration": trained.recalibration,
        "inputs": jax.tree.map(lambda x: array(x, *x.shape), inputs),
        # What the function takes off and divides by first, for those who use the parameters alone.
        "scales": {m: scale._asdict() for m, scale in trained.model.scales.items()},
        "outputs": {name: array(x, len(trained.class_names)) for name, x in outputs.items()},
        # How a clip becomes an input: what is kept of it, then what is made of that.
        "stored": config["data"].get("stored"),
        "modalities": config["modalities"],
        "model": config["model"],
        "platforms": list(exported.platforms),
        "calling_convention_version": exported.calling_convention_version,
        "jax": jax.__version__,
    }


def flat(variables: dict) -> dict[str, np.ndarray]:
    """Returns nested dictionaries of arrays as {path: array}, names joined by "/"."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(variables)
    }
