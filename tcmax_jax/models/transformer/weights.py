"""Published weights of transformers, as parameters of `tcmax_jax.models.transformer`.

The names are those in safetensors files of Hugging Face's transformers.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from flax import traverse_util

from tcmax_jax.models.transformer.positions import resize_positions


class _Names(NamedTuple):
    """The paths in these models of a file's arrays.

    Attributes:
      prefix: what the names of the encoder begin with in files of a model with a head.
      arrays: {name: path here} of single arrays.
      layers: the same for layers, each of them with the arrays weight and bias.
      block: what the names of block i, counted from 0, begin with.
      block_layers: {rest of the name: path in the block here}.
      interpolation: that of the positions, see `tcmax_jax.models.transformer.positions`.
      other: what the names of another encoder in the same file begin with.
    """

    prefix: str
    arrays: Mapping[str, str]
    layers: Mapping[str, str]
    block: str
    block_layers: Mapping[str, str]
    interpolation: str = "bicubic"
    other: tuple[str, ...] = ()

    def expected(self, depth: int) -> dict[str, str]:
        """Returns {name: path in the parameters} of all arrays of an encoder of `depth` blocks."""
        layers = dict(self.layers)
        for i in range(depth):
            inner = self.block_layers.items()
            layers |= {self.block.format(i) + k: f"block{i + 1}/{path}" for k, path in inner}
        paths = dict(self.arrays)
        for name, path in layers.items():
            paths[f"{name}.weight"] = f"{path}/{'scale' if 'norm' in path else 'kernel'}"
            paths[f"{name}.bias"] = f"{path}/bias"
        return paths


_VIT = _Names(
    prefix="vit.",
    arrays={
        "embeddings.cls_token": "class_token",
        "embeddings.position_embeddings": "positions",
    },
    layers={"embeddings.patch_embeddings.projection": "patches", "layernorm": "final_norm"},
    block="encoder.layer.{}.",
    block_layers={
        "attention.attention.query": "attention/query",
        "attention.attention.key": "attention/key",
        "attention.attention.value": "attention/value",
        "attention.output.dense": "attention/out",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "intermediate.dense": "mlp/hidden",
        "output.dense": "mlp/out",
    },
)
_DEIT = _VIT._replace(
    prefix="deit.",
    arrays=_VIT.arrays | {"embeddings.distillation_token": "distillation_token"},
)
_CLIP = _Names(
    prefix="vision_model.",
    arrays={
        "embeddings.class_embedding": "class_token",
        "embeddings.position_embedding.weight": "positions",
        "embeddings.patch_embedding.weight": "patches/kernel",
    },
    # The published names are spelt so.
    layers={"pre_layrnorm": "embedding_norm", "post_layernorm": "final_norm"},
    block="encoder.layers.{}.",
    block_layers={
        "self_attn.q_proj": "attention/query",
        "self_attn.k_proj": "attention/key",
        "self_attn.v_proj": "attention/value",
        "self_attn.out_proj": "attention/out",
        "layer_norm1": "norm1",
        "layer_norm2": "norm2",
        "mlp.fc1": "mlp/hidden",
        "mlp.fc2": "mlp/out",
    },
    other=("text_model.",),
)
_VISION = {
    "vit": _VIT,
    "deit": _DEIT,
    "clip": _CLIP,
    "ast": _DEIT._replace(prefix="audio_spectrogram_transformer.", interpolation="bilinear"),
}
_TEXT = {
    "bert": _Names(
        prefix="bert.",
        arrays={
            "embeddings.word_embeddings.weight": "words/embedding",
            "embeddings.position_embeddings.weight": "positions",
            "embeddings.token_type_embeddings.weight": "token_type",
        },
        layers={"embeddings.LayerNorm": "embedding_norm"},
        block="encoder.layer.{}.",
        block_layers={
            "attention.self.query": "attention/query",
            "attention.self.key": "attention/key",
            "attention.self.value": "attention/value",
            "attention.output.dense": "attention/out",
            "attention.output.LayerNorm": "norm1",
            "intermediate.dense": "mlp/hidden",
            "output.dense": "mlp/out",
            "output.LayerNorm": "norm2",
        },
    ),
    "clip": _CLIP._replace(
        prefix="text_model.",
        arrays={
            "embeddings.token_embedding.weight": "words/embedding",
            "embeddings.position_embedding.weight": "positions",
        },
        layers={"final_layer_norm": "final_norm"},
        other=("vision_model.",),
    ),
}
# Heads, and what serves other objectives than the features of the encoder.
_LEFT_OUT = re.compile(
    r"(classifier|cls|cls_classifier|distillation_classifier|pooler|qa_outputs)\."
    r"|(text_projection|visual_projection)\.|logit_scale|embeddings\.(mask_token|position_ids)"
)
_OLDER = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def vision_params(
    arrays: Mapping[str, np.ndarray],
    style: str,
    depth: int,
    grid: tuple[int, int],
    prefix: str = "",
    trained_grid: tuple[int, int | None] | None = None,
) -> dict:
    """Returns the parameters of a `VisionTransformer` from published weights.

    Where the weights have positions of another grid of patches, these are interpolated: bicubic
    without antialiasing for pictures, bilinear for style ast.

    Args:
      arrays: {name: array}, as `tcmax_jax.models.convert.read_arrays` returns.
      style: "vit", "deit", "clip" or "ast".
      depth: number of blocks.
      grid: rows and columns of patches of the input.
      prefix: what the names begin with; those without it are left out. The published ones, such as
        "vit.", need not be given.
      trained_grid: rows and columns of patches that the weights were trained with; columns of None
        follow from the number of positions, and None stands for a square.

    Returns:
      The parameters, a tree of float32 arrays.

    Raises:
      ValueError: a name that is unknown or missing, or positions of no such grid.
    """
    params = _read(arrays, _VISION[style], style, depth, prefix)
    tokens = sum(name.endswith("_token") for name in params)
    positions = params["positions"]
    interpolation = _VISION[style].interpolation
    patches = resize_positions(positions[tokens:], trained_grid, grid, interpolation)
    params["positions"] = np.concatenate([positions[:tokens], patches])
    return traverse_util.unflatten_dict(params, sep="/")


def text_params(
    arrays: Mapping[str, np.ndarray], style: str, depth: int, max_length: int, prefix: str = ""
) -> dict:
    """Returns the parameters of a `TextTransformer` from published weights.

    Args:
      arrays: {name: array}, as `tcmax_jax.models.convert.read_arrays` returns.
      style: "bert" or "clip".
      depth: number of blocks.
      max_length: number of positions; further ones of the weights are left out.
      prefix: what the names begin with; those without it are left out. The published ones, such as
        "bert.", need not be given.

    Returns:
      The parameters, a tree of float32 arrays.

    Raises:
      ValueError: a name that is unknown or missing, or fewer positions.
    """
    params = _read(arrays, _TEXT[style], style, depth, prefix)
    if len(params["positions"]) < max_length:
        raise ValueError(
            f"Expected at least max_length={max_length} positions, got {len(params['positions'])}. "
            "Lower max_length."
        )
    params["positions"] = params["positions"][:max_length]
    return traverse_util.unflatten_dict(params, sep="/")


def _read(arrays, names, style, depth, prefix):
    """Returns {path: array} of all arrays of an encoder."""
    expected = names.expected(depth)
    given = {k.removeprefix(prefix): x for k, x in arrays.items() if k.startswith(prefix)}
    if not given:
        raise ValueError(
            f"Expected weights whose names begin with {prefix!r}, got {', '.join(list(arrays)[:3])}"
            ", .. Choose another weights_prefix."
        )
    params = {}
    for full_name, array in given.items():
        name = full_name.removeprefix(names.prefix)
        for old, new in _OLDER.items():
            name = name.replace(old, new)
        if name in expected:
            params[expected[name]] = _converted(np.asarray(array, np.float32), expected[name])
        elif not (_LEFT_OUT.match(name) or name.startswith(names.other)):
            raise ValueError(
                f"Expected the names of style {style} with depth={depth} ({next(iter(expected))}, "
                f"..), got {full_name!r}. Choose style and depth of the weights, or the "
                "weights_prefix of the encoder."
            )
    if missing := [name for name, path in expected.items() if path not in params]:
        raise ValueError(
            f"Expected {missing[0]} for style {style} with depth={depth}, got {len(params)} of its "
            f"{len(expected)} arrays without it. Choose style and depth of the weights, or a file "
            "of the whole encoder."
        )
    return params


def _converted(array, path):
    """Returns an array of a file in the layout of these models."""
    if path.endswith("/kernel"):
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    if path.endswith("_token"):
        return array.reshape(-1)
    if path == "positions":
        return array.reshape(-1, array.shape[-1])
    return array[0] if path == "token_type" else array
