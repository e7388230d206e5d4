"""Encoders before the first step: checks and initial weights."""

import functools
from pathlib import Path

import jax
import numpy as np

from tcmax_jax.methods.base import encoder_group
from tcmax_jax.models import FrozenEncoder
from tcmax_jax.models.classifier import standardized
from tcmax_jax.models.encoder import pooled
from tcmax_jax.training import passes
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.tree import ConfigError, is_ours
from tcmax_jax.training.setup import Setup
from tcmax_jax.training.state import TrainState

_EXAMPLES = 4


def check_weights(config: Config) -> None:
    """Checks that the files of weights exist, before any data is opened.

    Raises:
      FileNotFoundError: one is not.
    """
    for name, modality in config.modalities.items():
        path = getattr(modality.encoder, "weights", None)
        if path and not Path(path).is_file():
            raise FileNotFoundError(
                f"Expected a file of weights as modalities.{name}.encoder.weights, got {path}, "
                "which does not exist."
            )


def load_weights(config: Config, state: TrainState) -> TrainState:
    """Returns the state with the encoders' weights of the configuration.

    Args:
      config: the configuration; encoders without weights stay as they are.
      state: the state before the first step, on the host.

    Raises:
      ValueError: weights of another network; names the first array that differs.
    """
    params, batch_stats = dict(state.params), dict(state.batch_stats)
    for name, modality in config.modalities.items():
        group, trees = encoder_group(name), {"params": params, "batch_stats": batch_stats}
        shape = config.inputs[name].shape(config.data.forms[name])
        drawn = {kind: tree[group] for kind, tree in trees.items() if group in tree}
        try:
            begin = modality.encoder.initial(drawn, name, shape)
        except ValueError as error:
            file = getattr(modality.encoder, "weights", None)
            raise ValueError(f"modalities.{name}.encoder.weights={file}: {error}") from error
        for kind, tree in begin.items():
            if group in trees[kind] or tree:
                trees[kind][group] = tree
    return state._replace(params=params, batch_stats=batch_stats)


def check_encoders(setup: Setup) -> None:
    """Checks user-defined encoders by running them on a few examples, before the first step.

    Raises:
      ConfigError: an encoder gives no [B, D], or has no parameters, or features of an example
        depend on the others of the batch in evaluation; names the modality.
    """
    modalities = setup.config.modalities
    sizes = {m: modality.encoder.feature_size for m, modality in modalities.items()}
    theirs = {m: x.encoder for m, x in modalities.items() if not is_ours(x.encoder)}
    if theirs:
        batch = next(iter(passes.evaluation_batches(setup, "validation", _EXAMPLES)))
    for name, options in theirs.items():
        x = batch["inputs"][name]
        if name in setup.model.scales:
            x = standardized(x, *setup.model.scales[name])
        try:
            sizes[name] = _checked_size(setup.model.encoders[name], options, x)
        except ConfigError as error:
            raise ConfigError(f"modalities.{name}.encoder: {error}") from error
    setup.config.check_sizes({m: size for m, size in sizes.items() if size is not None})


def _checked_size(module, options, x) -> int:
    """Returns the size D of an encoder's features of inputs; raises ConfigError."""
    init = jax.jit(functools.partial(module.init, train=False))
    encode = jax.jit(functools.partial(_encode, module))
    try:
        variables = init(jax.random.key(0), x)
        features = np.asarray(encode(variables, x))
        alone = np.asarray(encode(variables, jax.tree.map(_first_repeated, x)))
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"Expected {options.kind} to take (x, train) with x {_shapes(x)}, got an error: {error}"
        ) from error
    if not variables.get("params") and not isinstance(options, FrozenEncoder):
        raise ConfigError(
            f"Expected a module with parameters, got {options.kind} without. Let its options "
            "derive from FrozenEncoder, or use another encoder."
        )
    if features.ndim != 2 or len(features) != _EXAMPLES:
        raise ConfigError(
            f"Expected features [B, D] or [B, T, D], got {list(features.shape)} for "
            f"B={_EXAMPLES} from {options.kind}. Pool or flatten the other axes."
        )
    if not np.allclose(features[0], alone[0], rtol=1e-2, atol=1e-3 * np.abs(features).max()):
        raise ConfigError(
            "Expected the features of an example to be the same whatever else is in the batch in "
            f"evaluation, got others from {options.kind}. TCMax combines features of different "
            "examples. Take running statistics where train is False, and no sums over the batch."
        )
    return features.shape[1]


def _encode(module, variables, x):
    return pooled(module.apply(variables, x, False))


def _first_repeated(x):
    return np.repeat(np.asarray(x)[:1], len(x), axis=0)


def _shapes(x) -> str:
    return " and ".join(f"{list(each.shape)} of {each.dtype}" for each in jax.tree.leaves(x))
