"""Weights from PyTorch: equal activations against a forward pass in NumPy, in PyTorch's layout."""

import sys

import jax
import numpy as np
import pytest
from scipy import special

from tcmax_jax.models import HeadOptions, MultimodalClassifier, ResNet
from tcmax_jax.models.convert import head_params, read_arrays, resnet_variables
from tcmax_jax.models.resnet import BasicBlock, Bottleneck

C, D = 3, 8


def conv(x, weight, stride):
    """Cross-correlation of [N, C, H, W] with [O, C, k, k] and padding k // 2, pixel by pixel."""
    k = weight.shape[-1]
    x = np.pad(x, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    rows = (x.shape[2] - k) // stride + 1
    columns = (x.shape[3] - k) // stride + 1
    out = np.zeros((len(x), len(weight), rows, columns))
    for i, j in np.ndindex(rows, columns):
        patch = x[:, :, i * stride : i * stride + k, j * stride : j * stride + k]
        out[:, :, i, j] = np.einsum("nchw,ochw->no", patch, weight)
    return out


def norm(x, w, name):
    scale, bias, mean, var = (
        w[f"{name}.{entry}"][:, None, None]
        for entry in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * scale + bias


def pool(x):
    """3 x 3 maxima of stride 2 and padding 1."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    rows, columns = ((s - 3) // 2 + 1 for s in x.shape[2:])
    out = np.zeros((*x.shape[:2], rows, columns))
    for i, j in np.ndindex(rows, columns):
        out[:, :, i, j] = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(axis=(2, 3))
    return out


def forward(w, x):
    """Returns the pooled features of a residual network in torchvision's names."""
    x = pool(np.maximum(norm(conv(x, w["conv1.weight"], 2), w, "bn1"), 0))
    for block in sorted({".".join(name.split(".")[:2]) for name in w if name.startswith("layer")}):
        stride = 2 if block.startswith("layer2") else 1
        convs = sorted(n for n in w if n.startswith(f"{block}.conv"))
        y = x
        for i, name in enumerate(convs, start=1):
            # The stride belongs to the first 3 x 3 convolution.
            strided = i == (1 if len(convs) == 2 else 2)
            y = norm(conv(y, w[name], stride if strided else 1), w, f"{block}.bn{i}")
            y = np.maximum(y, 0) if i < len(convs) else y
        if f"{block}.downsample.0.weight" in w:
            x = conv(x, w[f"{block}.downsample.0.weight"], stride)
            x = norm(x, w, f"{block}.downsample.1")
        x = np.maximum(x + y, 0)
    return x.mean(axis=(2, 3))


def weights(seed, bottleneck=False, channels=3):
    """Returns random arrays of a network of two stages of one block, width 4, by their names."""
    rng = np.random.default_rng(seed)
    w = {"fc.weight": rng.normal(size=(7, D)), "fc.bias": rng.normal(size=7)}

    def add(conv_name, norm_name, shape):
        w[f"{conv_name}.weight"] = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        w[f"{norm_name}.weight"] = rng.uniform(0.5, 1.5, shape[0])
        w[f"{norm_name}.bias"] = rng.normal(size=shape[0])
        w[f"{norm_name}.running_mean"] = rng.normal(size=shape[0])
        w[f"{norm_name}.running_var"] = rng.uniform(0.5, 2, shape[0])
        w[f"{norm_name}.num_batches_tracked"] = np.array(5)

    add("conv1", "bn1", (4, channels, 7, 7))
    size = 4
    for stage, width in ((1, 4), (2, 8)):
        name = f"layer{stage}.0"
        out = 4 * width if bottleneck else width
        kernels = [1, 3, 1] if bottleneck else [3, 3]
        sizes = [size, width, width, out] if bottleneck else [size, width, out]
        for i, k in enumerate(kernels):
            add(f"{name}.conv{i + 1}", f"{name}.bn{i + 1}", (sizes[i + 1], sizes[i], k, k))
        if size != out or stage == 2:
            add(f"{name}.downsample.0", f"{name}.downsample.1", (out, size, 1, 1))
        size = out
    return {k: np.asarray(v, np.float32 if v.dtype.kind == "f" else None) for k, v in w.items()}


def network(bottleneck=False):
    return ResNet((1, 1), width=4, block=Bottleneck if bottleneck else BasicBlock)


def pictures(seed, channels=3):
    return np.random.default_rng(seed).normal(size=(2, 24, 20, channels)).astype(np.float32)


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("prefix", ["", "visual_net."])
def test_equal_activations(bottleneck, prefix):
    w, x = weights(0, bottleneck), pictures(1)
    arrays = {prefix + name: array for name, array in w.items()}
    variables = resnet_variables(arrays | ({"audio_net.x.y": x} if prefix else {}), prefix)
    model = network(bottleneck)
    fresh = jax.eval_shape(lambda: model.init(jax.random.key(0), x, False))
    assert jax.tree.structure(variables) == jax.tree.structure(fresh)
    features = model.apply(variables, x, False)
    np.testing.assert_allclose(features, forward(w, x.transpose(0, 3, 1, 2)), rtol=1e-4, atol=1e-4)


def linear(layer, x):
    return x @ layer["weight"].T + layer["bias"]


def torch_logits(fusion, heads, a, v):
    """Returns the joint logits as the PyTorch code computes them (share_head: its training sum)."""
    h = {name: applying(layer) for name, layer in heads.items()}
    match fusion:
        case "sum":
            return h["fc_x"](a) + h["fc_y"](v)
        case "share_head":
            return h["fc_out"](a) + h["fc_out"](v)
        case "concat" | "concat_msh":
            return h["fc_out"](np.concatenate([a, v], axis=1))
        case "film":
            gamma, beta = np.split(h["fc"](a), 2, axis=1)
            return h["fc_out"](gamma * v + beta)
        case "gated":
            return h["fc_out"](special.expit(h["fc_x"](a)) * h["fc_y"](v))
        case "bigated":
            one = h["fc_xgate_out"](special.expit(h["fc_xgate_x"](a)) * h["fc_xgate_y"](v))
            return one + h["fc_ygate_out"](special.expit(h["fc_ygate_y"](v)) * h["fc_ygate_x"](a))


def applying(layer):
    return lambda x: linear(layer, x)


SHAPES = {
    "sum": {"fc_x": (C, D), "fc_y": (C, D)},
    "share_head": {"fc_out": (C, D)},
    "concat": {"fc_out": (C, 2 * D)},
    "concat_msh": {"fc_out": (C, 2 * D), "fc_x": (C, D), "fc_y": (C, D)},
    "film": {"fc": (2 * D, D), "fc_out": (C, D)},
    "gated": {"fc_x": (D, D), "fc_y": (D, D), "fc_out": (C, D)},
    "bigated": {
        f"fc_{gate}_{part}": (C if part == "out" else D, D)
        for gate in ("xgate", "ygate")
        for part in ("x", "y", "out")
    },
}


@pytest.mark.parametrize("fusion", SHAPES)
def test_equal_logits_of_a_whole_checkpoint(fusion):
    rng = np.random.default_rng(3)
    heads = {
        name: {"weight": rng.normal(size=shape), "bias": rng.normal(size=shape[0])}
        for name, shape in SHAPES[fusion].items()
    }
    encoders = {"audio": weights(4, channels=1), "visual": weights(5)}
    arrays = {
        f"{m}_net.{name}": array for m, w in encoders.items() for name, array in w.items()
    } | {
        f"fusion_module.{name}.{entry}": np.float32(array)
        for name, layer in heads.items()
        for entry, array in layer.items()
    }
    x = {"audio": pictures(6, 1), "visual": pictures(7)}
    model = MultimodalClassifier(
        {m: network() for m in encoders}, HeadOptions.of_kind(fusion).make(("audio", "visual"), C)
    )
    variables = {m: resnet_variables(arrays, f"{m}_net.") for m in encoders}
    params = {f"encoders_{m}": v["params"] for m, v in variables.items()}
    params["head"] = head_params(arrays, fusion, ("audio", "visual"))
    stats = {f"encoders_{m}": v["batch_stats"] for m, v in variables.items()}
    fresh = jax.eval_shape(lambda: model.init(jax.random.key(0), x))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, fresh["params"])
    logits = model.apply({"params": params, "batch_stats": stats}, x)
    features = [forward(w, x[m].transpose(0, 3, 1, 2)) for m, w in encoders.items()]
    expected = torch_logits(fusion, heads, *features)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)
    if fusion == "concat_msh":
        z = model.apply({"params": params, "batch_stats": stats}, x, method="encode")
        own = model.apply({"params": params}, z, method="unimodal_logits")
        np.testing.assert_allclose(own["visual"], linear(heads["fc_y"], features[1]), 1e-3, 1e-3)


def test_files_of_arrays(tmp_path):
    arrays = {"module.conv1.weight": np.ones((2, 3), np.float32), "bn1.bias": np.zeros(2)}
    np.savez(tmp_path / "w.npz", **arrays)
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file(arrays, tmp_path / "w.safetensors")
    for name in ("w.npz", "w.safetensors"):
        read = read_arrays(tmp_path / name)
        assert set(read) == {"conv1.weight", "bn1.bias"}
        np.testing.assert_array_equal(read["conv1.weight"], arrays["module.conv1.weight"])


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"none\.npz, which does not exist"):
        read_arrays(tmp_path / "none.npz")
    (tmp_path / "w.bin").touch()
    with pytest.raises(ValueError, match=r"weights as \.safetensors, \.npz, \.pth, \.pt, got .*w"):
        read_arrays(tmp_path / "w.bin")
    for suffix in (".npz", ".safetensors"):
        (tmp_path / f"broken{suffix}").write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=r"Expected an? .*file"):
            read_arrays(tmp_path / f"broken{suffix}")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], object))
    with pytest.raises(ValueError, match="plain arrays"):
        read_arrays(tmp_path / "objects.npz")
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "w.pth").touch()
    with pytest.raises(ModuleNotFoundError, match=r"torch to read w\.pth.*save the weights as"):
        read_arrays(tmp_path / "w.pth")


def test_other_networks_are_refused():
    with pytest.raises(
        ValueError, match=r"names of torchvision's ResNet .* got 'features\.0\.weight'"
    ):
        resnet_variables({"features.0.weight": np.zeros((1, 1, 3, 3))})
    with pytest.raises(ValueError, match=r"begin with 'audio_net\.', got conv1\.weight"):
        resnet_variables({"conv1.weight": np.zeros((1, 1, 3, 3))}, "audio_net.")
    with pytest.raises(ValueError, match="both codes have in the same form, got 'cosine'"):
        head_params({}, "cosine", ("audio", "visual"))
    with pytest.raises(
        ValueError, match=r"fusion_module\.fc_x\.weight for fusion sum, got no head"
    ):
        head_params({}, "sum", ("audio", "visual"))
