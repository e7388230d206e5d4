"""A trained classifier, loaded from the folder of its run without data or optimiser."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tcmax_jax import digests
from tcmax_jax.data.scales import Scale
from tcmax_jax.evaluation.marginal import marginal_scores, single
from tcmax_jax.evaluation.metrics import predictions
from tcmax_jax.evaluation.outputs import read_outputs, stored_recalibration
from tcmax_jax.evaluation.recalibration import recalibrate
from tcmax_jax.methods import Method
from tcmax_jax.models import MultimodalClassifier, head_of
from tcmax_jax.models.classifier import broken_modality
from tcmax_jax.run_folder import RunFolder
from tcmax_jax.training import run_folders
from tcmax_jax.training.build import has_empirical_prior, make_method, make_model
from tcmax_jax.training.checkpoint_reader import CheckpointReader
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.tree import ConfigError

_EVALUATE = "Evaluate again with --mode=evaluate."


class Trained(NamedTuple):
    """A classifier with the meaning of its outputs.

    Attributes:
      config: the configuration of its run.
      dataset: name of the data that it was trained on.
      class_names: names of the classes, in the order of the outputs.
      step: number of steps of training that it has seen.
      model: the classifier.
      method: the method, which predicts.
      variables: {"params": .., "batch_stats": ..}, on the host.
      bank: {modality: [B, D]}, features of the validation split, over which a prediction from one
        modality averages the others; {} where that checkpoint was not evaluated.
      recalibration: weights and offsets of its sum of modalities, see
        `tcmax_jax.evaluation.recalibration`, and "judged", what is to be expected of it on new
        examples, see `tcmax_jax.evaluation.text.recalibration_text`; None for the method's own
        prediction.
      decoded_with: versions of the packages that prepared its training data; {} if unknown.
    """

    config: Config
    dataset: str
    class_names: Sequence[str]
    step: int
    model: MultimodalClassifier
    method: Method
    variables: dict
    bank: Mapping[str, np.ndarray] = MappingProxyType({})
    recalibration: Mapping | None = None
    decoded_with: Mapping[str, str] = MappingProxyType({})


def load_trained(workdir: Path, *, recalibrated: bool = False) -> Trained:
    """Returns the classifier of the best checkpoint of a run.

    Args:
      workdir: folder of a run that has a checkpoint of a validation.
      recalibrated: whether it predicts with the recalibration that an evaluation has found.

    Raises:
      ValueError: there is no recalibration of that checkpoint.
      ConfigError: there is no run in the folder, or it lacks the label prior of its method.
      FileNotFoundError: the run has no checkpoint yet.
      CheckpointError: the best checkpoint is damaged.
    """
    config = run_folders.stored_config(workdir)
    data = run_folders.stored_data(workdir)
    label_prior = data.get("label_prior")
    if has_empirical_prior(config) and label_prior is None:
        raise ConfigError(
            f"Expected the label prior of method.label_prior=empirical in {workdir}, got a run of "
            "an earlier version, which did not keep it. Train again in another --workdir."
        )
    scales = {m: Scale(**scale) for m, scale in data.get("scales", {}).items()}
    checkpoints = CheckpointReader(RunFolder(workdir).checkpoints)
    step = best_step(checkpoints, workdir, config)
    variables = checkpoints.restore_variables(step)
    return Trained(
        config=config,
        dataset=data["name"],
        class_names=data["class_names"],
        step=step,
        model=make_model(config, len(data["class_names"]), scales),
        method=make_method(config, None if label_prior is None else jnp.asarray(label_prior)),
        variables=variables,
        bank=_bank(workdir, step),
        recalibration=_recalibration(workdir, step) if recalibrated else None,
        decoded_with=data.get("versions", {}),
    )


def best_step(checkpoints: CheckpointReader, workdir: Path, config: Config) -> int:
    """Returns the step of the best checkpoint on validation.

    Raises:
      FileNotFoundError: there is none yet.
      CheckpointError: the metrics of one of all are damaged.
    """
    best = checkpoints.best
    if best is None:
        raise FileNotFoundError(
            f"Expected a checkpoint of a validation in {workdir}, got none yet: the first one is "
            f"written after {config.training.eval_every} epochs. Go on training with the same "
            "command."
        )
    return best


def _bank(workdir: Path, step: int) -> Mapping[str, np.ndarray]:
    outputs = RunFolder(workdir).outputs("validation")
    there = _results(workdir)["step"] == step and digests.is_due(outputs)
    return read_outputs(outputs).features if there else {}


def _recalibration(workdir: Path, step: int) -> Mapping:
    recalibration, results = stored_recalibration(workdir), _results(workdir)
    if results["step"] != step:
        raise ValueError(
            f"Expected the recalibration of the best checkpoint, that of step {step}, in "
            f"{workdir}, got one of step {results['step'] or 'unknown'}. {_EVALUATE}"
        )
    return recalibration | {"judged": results.get("recalibration")}


def _results(workdir: Path) -> Mapping:
    """Returns the results in the folder of a run; {"step": None} if there are none."""
    results = RunFolder(workdir).results
    due = digests.is_due(results)
    return digests.read_json(results, _EVALUATE, ["step"]) if due else {"step": None}


def classifier(trained: Trained) -> Callable:
    """Returns the pure function (variables, inputs) -> probabilities of a trained classifier.

    Inputs are {modality: [B, ...]} as the transforms of evaluation give them. Probabilities are
    {"fused": [B, C]}, what the method or its recalibration predicts, and where there is a bank
    {modality: [B, C]} beside it, the prediction from that modality alone, see
    `tcmax_jax.losses.marginal_logits`. All are NaN for an example with an input, a feature or a
    score that is not finite: no class is chosen for it.
    """

    def classify(variables, inputs):
        features = trained.model.apply(variables, inputs, False, method="encode")
        head = head_of(trained.model, variables["params"])
        scores = {"fused": trained.method.predict(head, features)}
        if trained.recalibration is not None:
            parts = predictions(trained.method, head, features)
            scores["fused"] = recalibrate(trained.recalibration, parts)
        if trained.bank:
            alone = marginal_scores(
                trained.method, head, features, trained.bank, single(trained.method, features)
            )
            scores |= {m: x for (m,), x in alone.items()}
        parts = [*features.values(), *scores.values()]
        finite = jnp.stack([jnp.isfinite(x).all(axis=-1) for x in parts]).all(axis=0)[:, None]
        return {m: jnp.where(finite, jax.nn.softmax(x), jnp.nan) for m, x in scores.items()}

    return classify


def why_unpredicted(inputs: Mapping, probabilities: Mapping, rows: Sequence) -> dict:
    """Returns why a `classifier` chose no class for some examples.

    Args:
      inputs: {modality: [B, ...]}.
      probabilities: what the classifier returned for them.
      rows: what the first examples are called; there may be others behind them.

    Returns:
      {what an example is called: what is not finite, and what to do}.
    """
    finite = np.isfinite(probabilities["fused"]).all(axis=-1)
    reasons = {}
    for row in np.flatnonzero(~finite[: len(rows)]):
        if modality := broken_modality(inputs, row):
            text = f"Expected finite numbers of {modality}, got NaN or infinity. Fix or drop them."
        else:
            text = "Expected finite scores, got NaN or infinity. Use another checkpoint or run."
        reasons[rows[row]] = text
    return reasons
