"""The published transformers in NumPy, token by token, on arrays by the names of their files."""

import numpy as np
from scipy import special

WIDTH, DEPTH, HEADS, HIDDEN, PATCH = 8, 2, 2, 12, 4
VOCABULARY, POSITIONS = 11, 6
PREFIXES = {
    "vit": "vit.",
    "deit": "deit.",
    "ast": "audio_spectrogram_transformer.",
    "clip": "vision_model.",
    "bert": "bert.",
    "clip_text": "text_model.",
}


def layer(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w, name, x, epsilon):
    x = x - x.mean(axis=-1, keepdims=True)
    x = x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + epsilon)
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x):
    return x * special.ndtr(x)


def quick_gelu(x):
    return x * special.expit(1.702 * x)


def attend(q, k, v, allowed):
    """Attention of [L, D], head by head and token by token; `allowed` [L, L] says to whom."""
    out = np.zeros_like(q)
    size = WIDTH // HEADS
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(q)):
            seen = np.flatnonzero(allowed[i])
            weights = special.softmax(k[seen, part] @ q[i, part] / np.sqrt(size))
            out[i, part] = weights @ v[seen, part]
    return out


def patches(picture, kernel, stride):
    """Returns [patches, D] of a picture [C, H, W], row by row."""
    size = kernel.shape[-1]
    rows, columns = ((n - size) // stride + 1 for n in picture.shape[1:])
    return np.array(
        [
            np.tensordot(
                kernel,
                picture[:, i * stride : i * stride + size, j * stride : j * stride + size],
                axes=3,
            )
            for i in range(rows)
            for j in range(columns)
        ]
    )


def vit(w, picture, stride=PATCH):
    """ViT, and DeiT and AST where there is a distillation token."""
    e = "embeddings"
    x = patches(picture, w[f"{e}.patch_embeddings.projection.weight"], stride)
    x = x + w[f"{e}.patch_embeddings.projection.bias"]
    names = [n for n in (f"{e}.cls_token", f"{e}.distillation_token") if n in w]
    x = np.concatenate([*(w[n][0] for n in names), x]) + w[f"{e}.position_embeddings"][0]
    everywhere = np.ones((len(x), len(x)))
    for i in range(DEPTH):
        b = f"encoder.layer.{i}"
        y = norm(w, f"{b}.layernorm_before", x, 1e-12)
        qkv = (layer(w, f"{b}.attention.attention.{n}", y) for n in ("query", "key", "value"))
        x = x + layer(w, f"{b}.attention.output.dense", attend(*qkv, everywhere))
        y = norm(w, f"{b}.layernorm_after", x, 1e-12)
        x = x + layer(w, f"{b}.output.dense", gelu(layer(w, f"{b}.intermediate.dense", y)))
    return norm(w, "layernorm", x, 1e-12)[: len(names)].mean(axis=0)


def clip_blocks(w, x, allowed):
    for i in range(DEPTH):
        b = f"encoder.layers.{i}"
        y = norm(w, f"{b}.layer_norm1", x, 1e-5)
        qkv = (layer(w, f"{b}.self_attn.{n}_proj", y) for n in "qkv")
        x = x + layer(w, f"{b}.self_attn.out_proj", attend(*qkv, allowed))
        y = norm(w, f"{b}.layer_norm2", x, 1e-5)
        x = x + layer(w, f"{b}.mlp.fc2", quick_gelu(layer(w, f"{b}.mlp.fc1", y)))
    return x


def clip_vision(w, picture):
    x = patches(picture, w["embeddings.patch_embedding.weight"], PATCH)
    x = np.concatenate([w["embeddings.class_embedding"][None], x])
    x = norm(w, "pre_layrnorm", x + w["embeddings.position_embedding.weight"], 1e-5)
    x = clip_blocks(w, x, np.ones((len(x), len(x))))
    return norm(w, "post_layernorm", x[0], 1e-5)


def clip_text(w, ids):
    """All states of a text without padding."""
    x = w["embeddings.token_embedding.weight"][ids]
    x = x + w["embeddings.position_embedding.weight"][: len(ids)]
    earlier = np.arange(len(ids)) <= np.arange(len(ids))[:, None]
    return norm(w, "final_layer_norm", clip_blocks(w, x, earlier), 1e-5)


def bert(w, ids):
    """All states of a text without padding."""
    e = "embeddings"
    x = w[f"{e}.word_embeddings.weight"][ids] + w[f"{e}.position_embeddings.weight"][: len(ids)]
    x = norm(w, f"{e}.LayerNorm", x + w[f"{e}.token_type_embeddings.weight"][0], 1e-12)
    everywhere = np.ones((len(x), len(x)))
    for i in range(DEPTH):
        b = f"encoder.layer.{i}"
        qkv = (layer(w, f"{b}.attention.self.{n}", x) for n in ("query", "key", "value"))
        y = layer(w, f"{b}.attention.output.dense", attend(*qkv, everywhere))
        x = norm(w, f"{b}.attention.output.LayerNorm", x + y, 1e-12)
        y = layer(w, f"{b}.output.dense", gelu(layer(w, f"{b}.intermediate.dense", x)))
        x = norm(w, f"{b}.output.LayerNorm", x + y, 1e-12)
    return x


def weights(style, patch_count=6, channels=3, seed=0):
    """Returns random float32 arrays of a model of a style, without its prefix."""
    rng = np.random.default_rng(seed)
    square, wide, narrow = (WIDTH, WIDTH), (HIDDEN, WIDTH), (WIDTH, HIDDEN)
    kernel = (WIDTH, channels, PATCH, PATCH)
    w = {}

    def add(name, *shape):
        w[name] = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else 4)

    def add_layers(prefix, shapes):
        for name, shape in shapes.items():
            add(f"{prefix}{name}.weight", *shape)
            add(f"{prefix}{name}.bias", shape[0])

    def add_norms(*names):
        for name in names:
            w[f"{name}.weight"] = rng.uniform(0.5, 1.5, WIDTH)
            w[f"{name}.bias"] = rng.normal(size=WIDTH)

    if style in ("vit", "deit", "ast"):
        tokens = ["cls_token"] if style == "vit" else ["cls_token", "distillation_token"]
        for token in tokens:
            add(f"embeddings.{token}", 1, 1, WIDTH)
        add("embeddings.position_embeddings", 1, patch_count + len(tokens), WIDTH)
        add_layers("embeddings.patch_embeddings.", {"projection": kernel})
        add_norms("layernorm")
        attention = {f"attention.attention.{n}": square for n in ("query", "key", "value")}
        dense = {"attention.output.dense": square, "intermediate.dense": wide}
        block, norms = "encoder.layer", ("layernorm_before", "layernorm_after")
        inner = attention | dense | {"output.dense": narrow}
    elif style == "bert":
        for name, count in (("word", VOCABULARY), ("position", POSITIONS), ("token_type", 2)):
            add(f"embeddings.{name}_embeddings.weight", count, WIDTH)
        add_norms("embeddings.LayerNorm")
        attention = {f"attention.self.{n}": square for n in ("query", "key", "value")}
        dense = {"attention.output.dense": square, "intermediate.dense": wide}
        block, norms = "encoder.layer", ("attention.output.LayerNorm", "output.LayerNorm")
        inner = attention | dense | {"output.dense": narrow}
    else:
        if style == "clip":
            add("embeddings.class_embedding", WIDTH)
            add("embeddings.patch_embedding.weight", *kernel)
            add("embeddings.position_embedding.weight", patch_count + 1, WIDTH)
            add_norms("pre_layrnorm", "post_layernorm")
        else:
            add("embeddings.token_embedding.weight", VOCABULARY, WIDTH)
            add("embeddings.position_embedding.weight", POSITIONS, WIDTH)
            add_norms("final_layer_norm")
        block, norms = "encoder.layers", ("layer_norm1", "layer_norm2")
        attention = {f"self_attn.{n}_proj": square for n in ("q", "k", "v", "out")}
        inner = attention | {"mlp.fc1": wide, "mlp.fc2": narrow}
    for i in range(DEPTH):
        add_layers(f"{block}.{i}.", inner)
        add_norms(*(f"{block}.{i}.{name}" for name in norms))
    return {name: np.float32(array) for name, array in w.items()}


# Arrays of heads and of other encoders, as files of whole models have them.
OTHERS = {
    "vit": ("classifier.weight", "vit.pooler.dense.bias", "vit.embeddings.mask_token"),
    "deit": ("cls_classifier.weight", "distillation_classifier.bias", "deit.pooler.dense.weight"),
    "ast": ("classifier.layernorm.weight", "classifier.dense.weight"),
    "clip": ("logit_scale", "visual_projection.weight", "text_model.final_layer_norm.bias"),
    "bert": ("cls.predictions.bias", "bert.pooler.dense.bias", "bert.embeddings.position_ids"),
    "clip_text": ("text_projection.weight", "vision_model.pre_layrnorm.bias", "logit_scale"),
}


def published(w, style):
    """Returns the arrays as a file of the whole model has them."""
    named = {PREFIXES[style] + name: array for name, array in w.items()}
    return named | {name: np.ones(3, np.float32) for name in OTHERS[style]}
