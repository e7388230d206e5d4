"""Training of a run: fits the classifier, saves checkpoints, evaluates the best one."""

from collections.abc import Collection
from pathlib import Path

from tcmax_jax import digests
from tcmax_jax.data.datasets import Dataset, clip_counts, groups_of
from tcmax_jax.evaluation.analysis import analyse_splits
from tcmax_jax.evaluation.evaluate import Evaluation
from tcmax_jax.evaluation.finite import check_finite
from tcmax_jax.evaluation.outputs import SPLITS, Outputs, store
from tcmax_jax.evaluation.probe import probe_accuracies
from tcmax_jax.files import json_text
from tcmax_jax.run_folder import RunFolder
from tcmax_jax.training import passes, run_folders
from tcmax_jax.training.build import build, with_forms
from tcmax_jax.training.checkpoint import Checkpoints, check_room
from tcmax_jax.training.checkpoint_reader import CheckpointError, CheckpointReader
from tcmax_jax.training.config import Config
from tcmax_jax.training.encoders import check_encoders, check_weights, load_weights
from tcmax_jax.training.fit import fit
from tcmax_jax.training.logs import write_final_metrics
from tcmax_jax.training.processes import all_agree, is_primary, say, together, wait_for_all
from tcmax_jax.training.setup import Setup
from tcmax_jax.training.trained import best_step


def train(
    config: Config,
    workdir: Path,
    data_dir: str | None,
    devices=None,
    dataset: Dataset | None = None,
) -> dict:
    """Trains, or resumes an interrupted run, and evaluates the best checkpoint.

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
      dataset: data that is open, in place of that of the configuration.

    Returns:
      What results.json holds, see `evaluate`.

    Raises:
      ConfigError: the folder belongs to another configuration or other data, or to a run that is
        going on, or cannot be written.
      CheckpointError: its checkpoints are all damaged, or one cannot be written.
      NonFiniteError: a quantity of a step is NaN or infinite, or what an example of an evaluation
        comes to; names step and quantity, or split and example.
      PreemptedError: the process was asked to stop (SIGTERM), and has saved its state.
    """
    run_folders.check_agreement(config)
    with together():
        run_folders.check(workdir, config)
        if not RunFolder(workdir).checkpoints.exists():
            check_weights(config)
    setup = build(config, data_dir, devices, dataset)
    passes.check_shared_memory(setup)
    run_folders.check_one_dataset(setup.dataset)
    with run_folders.occupied(workdir):
        with together():  # Preparing the data may have taken hours.
            run_folders.check(workdir, config)
            run_folders.check_data(workdir, setup.dataset)
        fresh = _fresh_state(setup, workdir)
        prior, scales = setup.method.label_prior, setup.model.scales
        complete = with_forms(config, setup.dataset.forms)
        run_folders.claim(workdir, complete, setup.dataset, prior, scales)
        with Checkpoints(RunFolder(workdir).checkpoints) as checkpoints:
            state = checkpoints.restore_latest(fresh) or fresh
            run_folders.record_environment(workdir, int(state.step), setup.parallel, say)
            fit(setup, state, checkpoints, workdir)
        return _evaluate(setup, workdir)


def _fresh_state(setup: Setup, workdir: Path):
    """Returns the initial state, of a new run with its weights; checks encoders and disk space."""
    with together():
        check_encoders(setup)
    say("compiling the initialisation ...")
    fresh = passes.initial_state(setup)
    setup.config.optimizer.check_factors(fresh.params)
    with together():
        if is_primary():
            check_room(RunFolder(workdir).checkpoints, fresh)
    if all_agree(CheckpointReader(RunFolder(workdir).checkpoints).latest is not None):
        return fresh  # It has the shapes of what is gone on with.
    with together():
        return load_weights(setup.config, fresh)


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
      "step", "epoch", "splits": {split: {metric: float}}, "collapsed", "recalibration": what is to
      be expected of it on examples like those of the last split, see
      `tcmax_jax.evaluation.analysis.analyse_recalibrated`; None where it is not judged}.

    Raises:
      ConfigError: there is no run in the folder, or its data has changed.
      FileNotFoundError: the run has no checkpoint yet, or none of that step.
      CheckpointError: the checkpoint is damaged.
      NonFiniteError: an example has no finite scores; names it.
    """
    setup = build(run_folders.stored_config(workdir), data_dir, devices)
    passes.check_shared_memory(setup)
    run_folders.check_data(workdir, setup.dataset)
    return _evaluate(setup, workdir, probe=probe, dropped=dropped, step=step)


def _evaluate(setup: Setup, workdir: Path, *, probe=False, dropped=(), step=None) -> dict:
    folder = RunFolder(workdir).at(step)
    step, state, finished = _restored(setup, workdir, step)
    say(f"evaluating the checkpoint of step {step} ...")
    state = setup.parallel.replicate(state)
    evaluations = _evaluations(setup, state, dropped)
    outputs = {split: _outputs(setup, split, each) for split, each in evaluations.items()}
    say("analysing the predictions ...")
    analyses = analyse_splits(outputs)
    metrics = {split: dict(evaluation.metrics) for split, evaluation in evaluations.items()}
    if probe or setup.config.training.probe:
        say("fitting linear probes on the features of each encoder ...")
        for split, accuracies in _probe(setup, state, list(metrics)).items():
            metrics[split] |= {f"probe/{m}": value for m, value in accuracies.items()}
    judged = None
    for split, analysis in analyses.items():
        if "accuracy" in (recalibration := analysis.get("recalibration", {})):
            metrics[split]["recalibrated"] = recalibration["accuracy"]
            judged = recalibration["judged"]
    results = {
        "run": workdir.name,
        "dataset": setup.dataset.name,
        "data": clip_counts(setup.dataset),
        "method": setup.config.method.kind,
        "seed": setup.config.seed,
        "finished": finished,
        "step": step,
        "epoch": step // setup.epochs.steps,
        "splits": metrics,
        "collapsed": list(evaluations.values())[-1].collapsed,
        "recalibration": judged,
    }
    if is_primary():
        folder.path.mkdir(parents=True, exist_ok=True)
        store(folder.path, outputs, analyses)
        digests.write(folder.results, json_text(results) + "\n")
        if folder.path == workdir:
            write_final_metrics(workdir, setup.config, metrics)
    wait_for_all("results")
    return results


def _restored(setup: Setup, workdir: Path, step: int | None) -> tuple:
    """Returns (step, state, whether training has finished) of a checkpoint, the best for None."""
    checkpoints = CheckpointReader(RunFolder(workdir).checkpoints)
    with together():
        if step is None:
            step = best_step(checkpoints, workdir, setup.config)
        elif step not in checkpoints.steps:
            raise FileNotFoundError(
                f"Expected a checkpoint after {step} steps in {workdir}, got those after "
                f"{', '.join(map(str, checkpoints.steps))}. The latest two and the best are kept."
            )
    like = passes.state_shapes(setup)
    try:
        with together():
            state = checkpoints.restore(step, like)
    except CheckpointError as error:
        raise CheckpointError(
            f"The checkpoint of step {step} cannot be evaluated: {error}. Restore it from "
            "a copy, or move its folder away to evaluate the best of the others."
        ) from error
    return step, state, checkpoints.latest == setup.epochs.total_steps


def _evaluations(setup: Setup, state, dropped) -> dict[str, Evaluation]:
    """Returns {split: evaluation} of a replicated state."""
    evaluate_on = passes.evaluator(setup)
    splits = [split for split in SPLITS if split in setup.dataset.sources]
    evaluations, bank = {}, None
    for split in splits:
        evaluations[split] = evaluate_on(
            state,
            split,
            bank=bank,
            dropped=dropped,
            # What is only looked at once is the last split, which nothing was chosen by.
            hard=split == splits[-1],
            noise=setup.config.training.noise,
        )
        bank = evaluations["validation"].features
    return evaluations


def _outputs(setup: Setup, split: str, evaluation: Evaluation) -> Outputs:
    groups, trained = (groups_of(setup.dataset, s) for s in (split, "train"))
    return Outputs(
        labels=evaluation.labels,
        scores=evaluation.scores,
        features=evaluation.features,
        predicted=evaluation.predicted,
        marginal=evaluation.marginal,
        class_names=list(setup.dataset.class_names),
        dataset=setup.dataset.name,
        split=split,
        groups=groups,
        trained_groups=sorted(set(groups) & set(trained) - {""}),
    )


def _probe(setup: Setup, state, splits) -> dict:
    """Returns {split: {modality: accuracy}} of linear probes on the frozen encoders' features."""
    encode = passes.split_encoder(setup)
    encoded = {split: encode(state, setup.dataset.sources[split]) for split in ("train", *splits)}
    features, labels = encoded.pop("train")  # All others were looked at when they were scored.
    named = {f"features of {m}": z for m, z in features.items()}
    check_finite(named, passes.about_example(setup, "train"))
    return probe_accuracies(features, labels, encoded, len(setup.dataset.class_names))
