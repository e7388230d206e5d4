"""Encoders that start from weights trained in PyTorch."""

from pathlib import Path

import jax
import numpy as np

from tcmax_jax.models.convert import read_arrays, resnet_variables
from tcmax_jax.training.config import Config
from tcmax_jax.training.state import TrainState


def check_weights(config: Config) -> None:
    """Checks that the files of weights are there, before any data is touched.

    Raises:
      FileNotFoundError: one is not.
    """
    for modality, path in _files(config).items():
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"Expected a file of weights as modalities.{modality}.encoder.weights, got {path}, "
                "which is not there."
            )


def load_weights(config: Config, state: TrainState) -> TrainState:
    """Returns the state with the encoders' weights of the configuration.

    Args:
      config: the configuration; encoders without `weights` stay as they are.
      state: the state before the first step, on the host.

    Raises:
      ValueError: weights of another network; names the first array that differs.
    """
    params, batch_stats = dict(state.params), dict(state.batch_stats)
    for modality, path in _files(config).items():
        arrays = read_arrays(path)
        prefix = config.modalities[modality].encoder.weights_prefix
        if prefix is None:
            torch = f"{modality}_net."
            prefix = torch if any(name.startswith(torch) for name in arrays) else ""
        variables = resnet_variables(arrays, prefix)
        group = f"encoders_{modality}"
        for name, tree in (("params", params), ("batch_stats", batch_stats)):
            _check_shapes(modality, path, tree[group], variables[name])
            tree[group] = variables[name]
    return state._replace(params=params, batch_stats=batch_stats)


def _files(config):
    return {
        name: modality.encoder.weights
        for name, modality in config.modalities.items()
        if getattr(modality.encoder, "weights", None)
    }


def _check_shapes(modality, path, expected, got):
    shapes, given = (
        {jax.tree_util.keystr(k): np.shape(x) for k, x in jax.tree.leaves_with_path(tree)}
        for tree in (expected, got)
    )
    for name in shapes | given:
        if shapes.get(name) != given.get(name):
            raise ValueError(
                f"Expected weights of the encoder of {modality}, got in {path} the shape "
                f"{given.get(name, 'none')} at {name} in place of {shapes.get(name, 'none')}. "
                "Kind, width and channels of the encoder have to be those of the weights."
            )
