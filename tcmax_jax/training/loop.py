"""The main path: trains a classifier, keeps its checkpoints, evaluates the best one."""

import json
from collections.abc import Collection
from pathlib import Path

from tcmax_jax.data.datasets import clip_counts
from tcmax_jax.evaluation.analysis import analyse_splits
from tcmax_jax.evaluation.evaluate import Evaluation
from tcmax_jax.evaluation.outputs import SPLITS, Outputs, store
from tcmax_jax.evaluation.probe import probe_accuracies
from tcmax_jax.files import write_atomically
from tcmax_jax.training import passes
from tcmax_jax.training import workdir as workdirs
from tcmax_jax.training.build import Parts, build
from tcmax_jax.training.checkpoint import CheckpointError, Checkpoints
from tcmax_jax.training.config import Config
from tcmax_jax.training.fit import fit
from tcmax_jax.training.logs import write_final_metrics
from tcmax_jax.training.pretrained import check_weights, load_weights
from tcmax_jax.training.processes import is_primary, say, together, wait_for_all
from tcmax_jax.training.trained import best_step


def train(config: Config, workdir: Path, data_dir: str, devices=None) -> dict:
    """Trains, or goes on with an interrupted run, and evaluates the best checkpoint.

    The folder then holds config.json, data.json, environments.json, metrics.jsonl, TensorBoard
    events, checkpoints/, outputs-<split>.npz, analysis.json and results.json. A run that was killed
    and started again with the same configuration gives the same numbers as an unbroken one. With
    several processes each of them calls this; the first one writes, and the folder has to be one
    that all of them see.

    Args:
      config: the configuration.
      workdir: folder of this run.
      data_dir: folder that holds prepared data sets.
      devices: devices to train on; those of all processes when None.

    Returns:
      What results.json holds, see `evaluate`.

    Raises:
      ConfigError: the folder belongs to another configuration or other data, or to a run that is
        going on, or cannot be written.
      CheckpointError: its checkpoints are all damaged, or one cannot be written.
      NonFiniteError: a quantity of a step is NaN or infinite; names step and quantity.
      PreemptedError: the process was asked to stop (SIGTERM), and has saved its state.
    """
    with together():
        workdirs.check(workdir, config)
        if not (workdir / "checkpoints").exists():
            check_weights(config)
    parts = build(config, data_dir, devices)
    with workdirs.occupied(workdir):
        with together():  # Preparing the data may have taken hours.
            workdirs.check(workdir, config)
            workdirs.check_data(workdir, parts.dataset)
        workdirs.claim(workdir, config, parts.dataset, parts.method.label_prior)
        with Checkpoints(workdir / "checkpoints") as checkpoints:
            say("compiling the initialisation ...")
            fresh = passes.initial_state(parts)
            state = checkpoints.restore_latest(fresh)
            if state is None:
                with together():
                    state = load_weights(config, fresh)
            workdirs.record_environment(workdir, int(state.step), parts.parallel, say)
            fit(parts, state, checkpoints, workdir)
        return _evaluate(parts, workdir)


def evaluate(
    workdir: Path,
    data_dir: str,
    devices=None,
    *,
    probe: bool = False,
    dropped: Collection[str] = (),
    step: int | None = None,
) -> dict:
    """Evaluates a checkpoint of a run on validation and test, and writes results.json.

    Args:
      workdir: folder of a run that has a checkpoint.
      data_dir: folder that holds prepared data sets.
      devices: devices to use; those of all processes when None.
      probe: whether to add linear probes if the configuration does not ask for them.
      dropped: modalities without which to predict as well, all of them at once.
      step: the checkpoint after so many steps, whose results, outputs and analyses then lie in
        steps/<step> of the run's folder; the best one on validation when None.

    Returns:
      {"run", "dataset", "data", "method", "seed", "finished": whether all epochs are trained,
      "step", "epoch", "splits": {split: {metric: float}}, "collapsed"}.

    Raises:
      ConfigError: there is no run in the folder, or its data has changed.
      FileNotFoundError: the run has no checkpoint yet, or none of that step.
      CheckpointError: the checkpoint is damaged.
    """
    parts = build(workdirs.stored_config(workdir), data_dir, devices)
    workdirs.check_data(workdir, parts.dataset)
    return _evaluate(parts, workdir, probe=probe, dropped=dropped, step=step)


def _evaluate(parts: Parts, workdir: Path, *, probe=False, dropped=(), step=None) -> dict:
    folder = workdir if step is None else workdir / "steps" / str(step)
    with Checkpoints(workdir / "checkpoints", clean=False) as checkpoints:
        if step is None:
            step = best_step(checkpoints, workdir, parts.config)
        elif step not in checkpoints.steps:
            raise FileNotFoundError(
                f"Expected a checkpoint after {step} steps in {workdir}, got those after "
                f"{', '.join(map(str, checkpoints.steps))}. The latest two and the best are kept."
            )
        like = passes.initial_state(parts)
        try:
            with together():
                state = checkpoints.restore(step, like)
        except CheckpointError as error:
            raise CheckpointError(
                f"The checkpoint of step {step} cannot be evaluated: {error}. Restore it from "
                "a copy, or move its folder away to evaluate the best of the others."
            ) from error
        finished = checkpoints.latest == parts.config.training.epochs * parts.steps_per_epoch
    say(f"evaluating the checkpoint of step {step} ...")
    evaluate_on = passes.evaluator(parts)
    replicated = parts.parallel.replicate(state)
    splits = [s for s in SPLITS if s in parts.dataset.sources]
    # What is only looked at once is the last split, which nothing was chosen by.
    evaluations = {
        split: evaluate_on(
            replicated,
            split,
            dropped=dropped,
            hard=split == splits[-1],
            noise=parts.config.training.noise,
        )
        for split in splits
    }
    metrics = {split: evaluation.metrics for split, evaluation in evaluations.items()}
    if probe or parts.config.training.probe:
        say("fitting linear probes on the features of each encoder ...")
        for split, accuracies in _probe(parts, replicated, splits).items():
            metrics[split] |= {f"probe/{m}": value for m, value in accuracies.items()}
    say("analysing the predictions ...")
    outputs = {s: _outputs(parts, s, own) for s, own in evaluations.items()}
    analyses = analyse_splits(outputs)
    for split, analysis in analyses.items():
        if recalibration := analysis.get("recalibration"):
            metrics[split]["recalibrated"] = recalibration["accuracy"]
    results = {
        "run": workdir.name,
        "dataset": parts.dataset.name,
        "data": clip_counts(parts.dataset),
        "method": parts.config.method.name,
        "seed": parts.config.seed,
        "finished": finished,
        "step": step,
        "epoch": step // parts.steps_per_epoch,
        "splits": metrics,
        "collapsed": evaluations[splits[-1]].collapsed,
    }
    if is_primary():
        folder.mkdir(parents=True, exist_ok=True)
        store(folder, outputs, analyses)
        write_atomically(folder / "results.json", json.dumps(results, indent=2) + "\n")
        if folder == workdir:
            write_final_metrics(workdir, parts.config, metrics)
    wait_for_all("results")
    return results


def _outputs(parts: Parts, split: str, evaluation: Evaluation) -> Outputs:
    return Outputs(
        labels=evaluation.labels,
        scores=evaluation.scores,
        features=evaluation.features,
        predicted=evaluation.predicted,
        class_names=list(parts.dataset.class_names),
        dataset=parts.dataset.name,
        split=split,
    )


def _probe(parts: Parts, state, splits) -> dict:
    """Returns {split: {modality: accuracy}} of linear probes on the frozen encoders' features."""
    encode = passes.split_encoder(parts)
    encoded = {split: encode(state, parts.dataset.sources[split]) for split in ("train", *splits)}
    features, labels = encoded.pop("train")
    return probe_accuracies(features, labels, encoded, len(parts.dataset.class_names))
