"""Conversion of PyTorch weights to variables of these models."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tcmax_jax.npz import DAMAGED, open_npz

_LAYERS = {
    "conv1": "stem_conv",
    "bn1": "stem_norm",
}
_IN_BLOCK = {"downsample.0": "shortcut_conv", "downsample.1": "shortcut_norm"}
_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(conv\d|bn\d|downsample\.[01])")
_STATISTICS = {"running_mean": "mean", "running_var": "var"}


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a file of named arrays: .safetensors, .npz, or .pth / .pt where torch is installed.

    Nothing is unpickled but what torch's weights-only reader allows. A checkpoint of the PyTorch
    TCMax code is read from its entry "model"; a leading "module." of names is dropped.

    Args:
      path: the file.

    Returns:
      {name: array}.

    Raises:
      FileNotFoundError: no such file.
      ValueError: another kind of file, or one that cannot be read.
      ModuleNotFoundError: the reader of this kind of file is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file of weights, got {path}, which does not exist.")
    readers = {".safetensors": _safetensors, ".npz": _npz, ".pth": _torch, ".pt": _torch}
    if path.suffix not in readers:
        raise ValueError(f"Expected weights as {', '.join(readers)}, got {path}.")
    arrays = readers[path.suffix](path)
    return {name.removeprefix("module."): array for name, array in arrays.items()}


def resnet_variables(arrays: Mapping[str, np.ndarray], prefix: str = "") -> dict:
    """Returns the variables of a `ResNet` from arrays with torchvision's names.

    Kernels [out, in, h, w] become [h, w, in, out]; batch normalisation's weight, bias, running_mean
    and running_var become scale, bias, mean and var. The classifier layer `fc` is left out.

    Args:
      arrays: {name: array}, as `read_arrays` returns.
      prefix: what the names begin with, such as "audio_net." in checkpoints of the PyTorch TCMax
        code; names without it are left out.

    Returns:
      {"params": .., "batch_stats": ..} for `resnet18`, `resnet34` or `resnet50`.

    Raises:
      ValueError: a name that no residual network of torchvision has.
    """
    params, batch_stats = {}, {}
    for name, array in arrays.items():
        if not name.startswith(prefix):
            continue
        layer, _, entry = name.removeprefix(prefix).rpartition(".")
        if layer == "fc" or entry == "num_batches_tracked":
            continue
        path = _path_of(layer)
        if path is None:
            raise ValueError(
                f"Expected the names of torchvision's ResNet (conv1, bn1, layer1.0.conv1, ..), got "
                f"{name!r}. Choose a prefix, or check which network the file is of."
            )
        if entry in _STATISTICS:
            _put(batch_stats, (*path, _STATISTICS[entry]), array)
        elif array.ndim == 4:
            _put(params, (*path, "kernel"), array.transpose(2, 3, 1, 0))
        else:
            _put(params, (*path, {"weight": "scale"}.get(entry, entry)), array)
    if not params:
        raise ValueError(
            f"Expected weights whose names begin with {prefix!r}, got {', '.join(list(arrays)[:3])}"
            ", .. Choose another prefix."
        )
    return {"params": params, "batch_stats": batch_stats}


def head_params(arrays: Mapping[str, np.ndarray], fusion: str, modalities) -> dict:
    """Returns the parameters of a head from a checkpoint of the PyTorch TCMax code.

    A `share_head` that was trained there by joint cross-entropy has half the sum over modalities
    for its logits, and here the sum, as that code has it with TCMax: its logits come out doubled.
    The class is the same; halve kernel and bias of "shared" for the probabilities.

    Args:
      arrays: {name: array}, as `read_arrays` returns.
      fusion: name of the head, see `tcmax_jax.models.fusion`; any but cosine and low_rank.
      modalities: names of the two modalities in the order of that code, ("audio", "visual").

    Raises:
      ValueError: a head that the PyTorch code does not have in the same form, or arrays missing.
    """
    first, second = modalities
    pairs = {
        "sum": {first: "fc_x", second: "fc_y"},
        "share_head": {"shared": "fc_out"},
        "concat": {},
        "concat_msh": {"own": {first: "fc_x", second: "fc_y"}},
        "film": {"film": "fc", "out": "fc_out"},
        "gated": {"gate": {"gate": "fc_x", "value": "fc_y", "out": "fc_out"}},
        "bigated": {
            "first_gates_second": {
                "gate": "fc_xgate_x",
                "value": "fc_xgate_y",
                "out": "fc_xgate_out",
            },
            "second_gates_first": {
                "gate": "fc_ygate_y",
                "value": "fc_ygate_x",
                "out": "fc_ygate_out",
            },
        },
    }
    if fusion not in pairs:
        raise ValueError(
            f"Expected one of {', '.join(pairs)}, which both codes have in the same form, got "
            f"{fusion!r}. Train that head again."
        )

    def dense(layer):
        names = [f"fusion_module.{layer}.{entry}" for entry in ("weight", "bias")]
        if missing := [name for name in names if name not in arrays]:
            raise ValueError(
                f"Expected {missing[0]} for fusion {fusion}, got "
                f"{', '.join(n for n in arrays if n.startswith('fusion_module')) or 'no head'}."
            )
        weight, bias = (arrays[name] for name in names)
        return {"kernel": weight.T, "bias": bias}

    def convert(tree):
        return {k: convert(v) if isinstance(v, dict) else dense(v) for k, v in tree.items()}

    params = convert(pairs[fusion])
    if fusion in ("concat", "concat_msh"):
        whole = dense("fc_out")
        halves = np.split(whole["kernel"], 2)
        joint = {m: {"kernel": half} for m, half in zip(modalities, halves, strict=True)}
        joint["bias"] = whole["bias"]
        params = joint if fusion == "concat" else {"joint": joint, **params}
    return params


def _path_of(layer):
    """Returns the path of a layer's variables in these models; None for an unknown one."""
    if layer in _LAYERS:
        return (_LAYERS[layer],)
    match = _BLOCK.fullmatch(layer)
    if match is None:
        return None
    stage, block, inner = match.groups()
    inner = _IN_BLOCK.get(inner, inner.replace("bn", "norm"))
    return f"stage{stage}_block{int(block) + 1}", inner


def _put(tree, path, array):
    *parents, name = path
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[name] = np.asarray(array, np.float32)


def _safetensors(path):
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Expected the package safetensors to read {path.name}; install tcmax_jax[pretrained]."
        ) from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"Expected a safetensors file, got {path}: {error}.") from error


def _npz(path):
    try:
        with open_npz(path) as file:
            arrays = {name: file[name] for name in file.files}
    except DAMAGED as error:
        raise ValueError(
            f"Expected an .npz file of plain arrays, got {path}: {error or type(error).__name__}."
        ) from error
    if others := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise ValueError(
            f"Expected an .npz file of plain arrays, got {path} with the file {others[0]!r}."
        )
    return arrays


def _torch(path):
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Expected torch to read {path.name}. Install it, or save the weights as .safetensors "
            "or .npz where it is installed."
        ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("model", state)
        return {name: tensor.float().numpy() for name, tensor in state.items()}
    # Of many kinds: the reader's own, and what comes of content that is no dictionary of tensors.
    except Exception as error:
        raise ValueError(
            f"Expected a file of nothing but named tensors, got {path}: {error}. Save the state "
            "dict alone; nothing else is unpickled."
        ) from error
