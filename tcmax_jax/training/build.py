"""Builds data, model, method and optimiser from a configuration."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tcmax_jax import methods
from tcmax_jax.data.datasets import Dataset, open_dataset
from tcmax_jax.data.in_place import is_in_place, open_in_place
from tcmax_jax.data.pipeline import steps_per_epoch
from tcmax_jax.data.preparation.prepare import folder_of, prepare, remove_unfinished
from tcmax_jax.data.record_cache import CachedRecords
from tcmax_jax.data.scales import Scale, measure_scales
from tcmax_jax.models import MultimodalClassifier
from tcmax_jax.training.config import Config
from tcmax_jax.training.locks import locked
from tcmax_jax.training.parallel import AXIS_NAME, KINDS, Parallel
from tcmax_jax.training.processes import primary_first, say
from tcmax_jax.training.programs import programs_of
from tcmax_jax.training.setup import Epochs, Setup


def build(
    config: Config,
    data_dir: str | os.PathLike | None,
    devices=None,
    dataset: Dataset | None = None,
) -> Setup:
    """Builds all parts of a run; prepares its data unless it is prepared already.

    Args:
      config: the configuration.
      data_dir: folder that holds prepared data sets.
      devices: devices to train on; those of all processes when None.
      dataset: data that is open, in place of that of the configuration.

    Raises:
      ValueError: a batch that the devices cannot share, or data that does not fit the
        configuration.
    """
    parallel = KINDS[config.training.parallel](devices)
    if problems := batch_problems(config, len(parallel.devices)):
        raise ValueError(problems[0])
    keep_programs(data_dir, parallel.devices[0].platform)
    return assemble(config, dataset or open_data(config, data_dir), parallel)


def keep_programs(data_dir: str | os.PathLike | None, platform: str) -> None:
    """Caches compiled programs beside the data, unless a cache folder is set already.

    Not those of CPUs, where XLA may refuse what it has written itself, or crash on it after another
    release was installed (openxla/xla issue 44565); only a folder that is asked for holds them.

    Args:
      data_dir: folder that holds prepared data sets; None for none.
      platform: that of the devices: "cpu", "gpu" or "tpu".
    """
    if data_dir is not None and platform != "cpu" and not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(Path(data_dir) / "compiled"))


def open_data(config: Config, data_dir: str | os.PathLike) -> Dataset:
    """Opens the data of a configuration; prepares it unless it is prepared already.

    Raises:
      RawDataError: the raw data does not fit the configuration.
      DataError: prepared data cannot be read.
    """
    if (opened := config.data.open()) is not None:
        return opened
    # Others find what the first process has prepared, or prepare their own host's copy.
    if is_in_place(config.data):
        return primary_first(lambda: open_in_place(config.data, data_dir))
    path = primary_first(lambda: prepare_data(config, data_dir))
    return open_dataset(path, tuple(config.modalities))


def batch_problems(config: Config, count: int) -> list[str]:
    """Returns a text for each batch size that the devices cannot share equally."""
    shares = {"batch_size": config.training.accumulate * count, "eval_batch_size": count}
    problems = []
    for name, share in shares.items():
        size = getattr(config.training, name)
        if size % share:
            times = f" times training.accumulate={share // count}" if share > count else ""
            problems.append(
                f"Expected training.{name} to be a multiple of the {count} devices{times}, "
                f"got {size}."
            )
    return problems


def fit_batch(config: Config, num_train: int, count: int) -> Config:
    """Returns the configuration with a batch that the training split can fill; says if it differs.

    Args:
      config: the configuration.
      num_train: number of training examples.
      count: number of devices.

    Raises:
      ValueError: there are fewer training examples than devices.
    """
    training = config.training
    share = training.accumulate * count
    size = min(training.batch_size, num_train // share * share)
    if size == training.batch_size:
        return config
    if not size:
        raise ValueError(
            f"Expected at least {share} training examples, one for each of the {count} devices "
            f"and training.accumulate={training.accumulate} parts of a batch, got {num_train}."
        )
    say(
        f"training.batch_size={training.batch_size} is more than the {num_train} training "
        f"examples: a step takes {size} of them."
    )
    return replace(config, training=replace(training, batch_size=size))


def assemble(config: Config, dataset: Dataset, parallel: Parallel) -> Setup:
    """Returns the setup of a run for opened data.

    Args:
      config: the configuration.
      dataset: its data.
      parallel: the devices.

    Raises:
      ValueError: data that does not fit the configuration.
    """
    config = with_forms(config, dataset.forms)
    config = fit_batch(config, len(dataset.sources["train"]), len(parallel.devices))
    inputs, training = config.inputs, config.training
    dataset = cached(dataset, config)
    scales = measure_scales(dataset.sources["train"], inputs, config.data.forms, dataset.folder)
    steps = steps_per_epoch(dataset.sources["train"], training.batch_size)
    if training.epochs * steps >= 2**31:
        raise ValueError(
            f"Expected fewer than {2**31} steps, got training.epochs={training.epochs} of {steps}. "
            "Lower training.epochs."
        )
    epochs = Epochs(training.epochs, steps)
    schedule = config.optimizer.rate(epochs=epochs.number, steps_per_epoch=steps)
    setup = Setup(
        config=config,
        dataset=dataset,
        inputs=inputs,
        model=make_model(config, len(dataset.class_names), scales),
        method=make_method(config, label_prior_of(config, dataset)),
        schedule=schedule,
        optimizer=config.optimizer.make(schedule),
        parallel=parallel,
        epochs=epochs,
    )
    return setup._replace(programs=programs_of(setup))


def cached(dataset: Dataset, config: Config) -> Dataset:
    """Returns the data with splits cached in memory, as far as `training.held_mib` allows.

    Not those of others' sources, which may augment their records, anew at each reading.
    """
    limit = config.training.held_mib * 2**20
    if not limit or config.training.workers:
        return dataset
    sources = {
        split: CachedRecords(source, config.inputs, config.data.forms, limit)
        if getattr(source, "always_the_same", False) and not getattr(source, "has_batches", False)
        else source
        for split, source in dataset.sources.items()
    }
    return dataset._replace(sources=sources)


def with_forms(config: Config, fields: Mapping[str, Mapping]) -> Config:
    """Returns the configuration with {modality: fields of its form} that were read from files.

    Raises:
      SectionError: an input or an encoder does not take what is stored.
    """
    return replace(config, data=config.data.with_forms(fields)) if fields else config


def prepare_data(config: Config, data_dir: str | os.PathLike) -> str:
    """Prepares the data set of a configuration unless it is there, and returns its folder.

    Of several processes that prepare in one folder at a time all but one wait.

    Raises:
      RawDataError: the raw data does not fit the configuration.
    """
    folder = folder_of(config.data, data_dir)
    with contextlib.ExitStack() as alone:
        if not folder.exists():  # Otherwise it need not be one that can be written.
            Path(data_dir).mkdir(parents=True, exist_ok=True)
            alone.enter_context(locked(Path(data_dir) / "preparing.lock", wait=True))
            remove_unfinished(folder)
        return str(prepare(config.data, data_dir, folder).data_path)


def make_model(
    config: Config, num_classes: int, scales: Mapping[str, Scale] | None = None
) -> MultimodalClassifier:
    """Returns the classifier; `scales`, if any, standardise its inputs."""
    dtype = jnp.dtype(config.model.dtype)
    axis_name = AXIS_NAME if config.model.sync_batch_norm else None
    encoders = {
        name: modality.encoder.make(dtype, axis_name)
        for name, modality in config.modalities.items()
    }
    head = config.model.fusion.make(tuple(config.modalities), num_classes)
    return MultimodalClassifier(encoders, head, dict(scales or {}))


def has_empirical_prior(config: Config) -> bool:
    """Returns whether the method's label prior is the frequencies in training."""
    return getattr(config.method, "label_prior", None) == "empirical"


def label_prior_of(config: Config, dataset: Dataset) -> jax.Array | None:
    """Returns the label prior [C] of the method; None for the uniform one.

    Raises:
      ValueError: an empirical one of data without training examples of some class.
    """
    return _label_frequencies(dataset) if has_empirical_prior(config) else None


def make_method(config: Config, label_prior: jax.Array | None) -> methods.Method:
    """Returns the training method, with the label prior of `label_prior_of`."""
    return config.method.make(tuple(config.modalities), label_prior)


def _label_frequencies(dataset):
    labels = [record["label"] for record in dataset.sources["train"]]
    counts = np.bincount(labels, minlength=len(dataset.class_names))
    if not counts.all():
        raise ValueError(
            "Expected training examples of every class for method.label_prior=empirical, got none "
            f"of {dataset.class_names[int(np.argmin(counts))]!r}. Use uniform, or drop the class."
        )
    return jnp.asarray(counts / counts.sum(), jnp.float32)
