"""What is done with encoders before the first step: checks, and weights to start from."""

import functools
from pathlib import Path

import jax
import numpy as np

from tcmax_jax.methods.base import encoder_group
from tcmax_jax.models import FrozenEncoder
from tcmax_jax.models.classifier import standardized
from tcmax_jax.models.encoder import pooled
from tcmax_jax.training import passes
from tcmax_jax.training.build import Setup
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.tree import ConfigError, is_ours
from tcmax_jax.training.state import TrainState

_EXAMPLES = 4


def check_weights(config: Config) -> None:
    """Checks that the files of weights are there, before any data is touched.

    Raises:
      FileNotFoundError: one is not.
    """
    for name, modality in config.modalities.items():
        path = getattr(modality.encoder, "weights", None)
        if path and not Path(path).is_file():
            raise FileNotFoundError(
                f"Expected a file of weights as modalities.{name}.encoder.weights, got {path}, "
                "which is not there."
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
        for kind, tree in modality.encoder.initial(drawn, name, shape).items():
            if group in trees[kind] or tree:
                trees[kind][group] = tree
    return state._replace(params=params, batch_stats=batch_stats)


def check_encoders(setup: Setup, state: TrainState) -> None:
    """Checks encoders that others have defined on a few examples, before the first step.

    Args:
      setup: what the run is made of.
      state: the state before the first step, on the host.

    Raises:
      ConfigError: an encoder gives no [B, D], or has no parameters, or features of an example
        depend on the others of the batch in evaluation; names the modality.
    """
    theirs = {m: x.encoder for m, x in setup.config.modalities.items() if not is_ours(x.encoder)}
    if not theirs:
        return
    batch = next(iter(passes.evaluation_batches(setup, "validation", _EXAMPLES)))
    sizes = {m: x.encoder.feature_size for m, x in setup.config.modalities.items()}
    for name, options in theirs.items():
        module, group = setup.model.encoders[name], encoder_group(name)
        if group not in state.params and not isinstance(options, FrozenEncoder):
            raise ConfigError(
                f"modalities.{name}.encoder: Expected a module with parameters, got {options.kind} "
                "without. Let its options derive from FrozenEncoder, or use another encoder."
            )
        trees = {"params": state.params, "batch_stats": state.batch_stats}
        variables = {kind: tree[group] for kind, tree in trees.items() if group in tree}
        x = batch["inputs"][name]
        if name in setup.model.scales:
            x = standardized(x, *setup.model.scales[name])
        encode = jax.jit(functools.partial(_encode, module))
        try:
            features = np.asarray(encode(variables, x))
            alone = np.asarray(encode(variables, jax.tree.map(_first_repeated, x)))
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"modalities.{name}.encoder: Expected {options.kind} to take (x, train) with x "
                f"{_shapes(x)}, got an error: {error}"
            ) from error
        if features.ndim != 2 or len(features) != _EXAMPLES:
            raise ConfigError(
                f"modalities.{name}.encoder: Expected features [B, D] or [B, T, D], got "
                f"{list(features.shape)} for B={_EXAMPLES} from {options.kind}. Pool or flatten "
                "the other axes."
            )
        if not np.allclose(features[0], alone[0], rtol=1e-2, atol=1e-3 * np.abs(features).max()):
            raise ConfigError(
                f"modalities.{name}.encoder: Expected the features of an example to be the same "
                f"whatever else is in the batch in evaluation, got others from {options.kind}. "
                "TCMax combines features of different examples. Take running statistics where "
                "train is False, and no sums over the batch."
            )
        sizes[name] = features.shape[1]
    setup.config.check_sizes({m: size for m, size in sizes.items() if size is not None})


def _encode(module, variables, x):
    return pooled(module.apply(variables, x, False))


def _first_repeated(x):
    return np.repeat(np.asarray(x)[:1], len(x), axis=0)


def _shapes(x) -> str:
    return " and ".join(f"{list(each.shape)} of {each.dtype}" for each in jax.tree.leaves(x))
