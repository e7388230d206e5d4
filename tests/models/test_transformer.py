"""The transformers: equal to the published architectures, padding, precision, training, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax.models import (
    TextTransformerEncoder,
    VisionTransformerEncoder,
)
from tcmax_jax.series import Series
from tests.models import transformer_reference as reference
from tests.models.random_params import randomised

SIZES = {
    "width": reference.WIDTH,
    "depth": reference.DEPTH,
    "heads": reference.HEADS,
    "mlp_size": reference.HIDDEN,
}
VISION = ("vit", "deit", "clip", "ast")
TEXT = ("bert", "clip")


def vision(style="vit", **options):
    own = {"patch": reference.PATCH, "stride": 2 if style == "ast" else None}
    return VisionTransformerEncoder(style=style, **SIZES | own | options)


def text(style="bert", **options):
    own = {"vocabulary_size": reference.VOCABULARY, "max_length": reference.POSITIONS}
    return TextTransformerEncoder(style=style, **SIZES | own | options)


def pictures(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def image_of(style):
    """Returns inputs of a batch of two: 2 x 3 patches, for AST 3 x 4 ones that overlap."""
    return pictures(2, 8, 10, 1) if style == "ast" else pictures(2, 8, 13, 3)


GRIDS = {"vit": (2, 3), "deit": (2, 3), "clip": (2, 3), "ast": (3, 4)}


def vision_weights(style):
    channels = 1 if style == "ast" else 3
    return reference.weights(style, int(np.prod(GRIDS[style])), channels)


def vision_expected(w, style, x):
    """Returns features of pictures [B, H, W, C] by the reference."""
    forward = {"clip": reference.clip_vision}.get(style, reference.vit)
    if style == "ast":
        forward = functools.partial(forward, stride=2)
    return np.array([forward(w, picture) for picture in x.transpose(0, 3, 1, 2)])


def text_reference(style):
    return ("clip_text", reference.clip_text) if style == "clip" else ("bert", reference.bert)


@functools.cache
def fresh_shapes(model, shape):
    """Returns the variables' shapes of a module for inputs of a shape."""
    x = jnp.zeros(shape, jnp.int32 if len(shape) == 2 else jnp.float32)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), x, False))


def initialised(options, shape, dtype=jnp.float32):
    """Returns a module and random variables of it, larger than those that training starts from."""
    model = options.make(dtype)
    shapes = fresh_shapes(model, shape)
    return model, jax.tree.map(lambda p: 0.3 + 0.3 * p, randomised(shapes))


@functools.cache
def compiled(model, train):
    return jax.jit(lambda v, x, rngs: model.apply(v, x, train, rngs=rngs))


def run(model, variables, x, train=False, rngs=None):
    """Applies a module, compiled as a whole and once for all tests."""
    return compiled(model, train)(variables, x, rngs)


def same_tree(variables, fresh):
    """Checks that converted variables are those of a fresh module."""
    assert variables["batch_stats"] == {}
    shapes = jax.tree.map(np.shape, variables["params"])
    assert shapes == jax.tree.map(np.shape, fresh["params"])
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}


@pytest.mark.parametrize("files", ["whole model", "encoder", "in a checkpoint"])
@pytest.mark.parametrize("style", VISION)
def test_vision_equals_the_published_architecture(style, files):
    w, x = vision_weights(style), image_of(style)
    prefix = "visual_net." if files == "in a checkpoint" else ""
    arrays = w if files == "encoder" else reference.published(w, style)
    arrays = {prefix + name: array for name, array in arrays.items()}
    arrays |= {"audio_net.conv1.weight": x} if prefix else {}
    options = vision(style, weights_grid=GRIDS[style])
    variables = options.variables(arrays, prefix, x.shape[1:])
    model = options.make()
    same_tree(variables, fresh_shapes(model, x.shape))
    features = run(model, variables, x)
    assert features.shape == (2, options.feature_size)
    np.testing.assert_allclose(features, vision_expected(w, style, x), rtol=1e-5, atol=2e-6)


def ragged():
    """Returns four texts of 6, 4, 1 and 5 tokens, padded by ids out of the vocabulary."""
    rng = np.random.default_rng(5)
    lengths = np.array([6, 4, 1, 5])
    mask = np.arange(reference.POSITIONS) < lengths[:, None]
    ids = rng.integers(0, reference.VOCABULARY, mask.shape)
    return np.where(mask, ids, 10**6).astype(np.int32), mask, lengths


@pytest.mark.parametrize(
    ("style", "pool"),
    [("bert", None), ("bert", "last"), ("bert", "mean"), ("clip", None), ("clip", "first")],
)
def test_text_equals_the_published_architecture(style, pool):
    name, forward = text_reference(style)
    w = reference.weights(name)
    ids, mask, lengths = ragged()
    options = text(style, pool=pool)
    variables = options.variables(reference.published(w, name), "", ids.shape[1:])
    model = options.make()
    x = Series(ids, mask)
    same_tree(variables, fresh_shapes(model, ids.shape))
    features = run(model, variables, x)
    take = {
        "first": lambda states: states[0],
        "last": lambda states: states[-1],
        "mean": lambda states: states.mean(axis=0),
    }[pool or {"bert": "first", "clip": "last"}[style]]
    expected = [take(forward(w, row[:n])) for row, n in zip(ids, lengths, strict=True)]
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=2e-6)


def test_plain_ids_are_all_real():
    ids = np.random.default_rng(6).integers(0, reference.VOCABULARY, (4, 6), np.int32)
    model, variables = initialised(text(), ids.shape)
    plain = run(model, variables, ids)
    marked = run(model, variables, Series(ids, np.ones(ids.shape, bool)))
    np.testing.assert_array_equal(plain, marked)


POOLS = [("bert", "first"), ("bert", "mean"), ("clip", "last")]


@pytest.mark.parametrize(("style", "pool"), POOLS)
def test_padding_has_no_influence(style, pool):
    ids, mask, _ = ragged()
    model, variables = initialised(text(style, pool=pool), ids.shape)
    features = run(model, variables, Series(ids, mask))
    others = Series(np.where(mask, ids, -7), mask)
    np.testing.assert_array_equal(run(model, variables, others), features)
    # Nor has its amount: the same texts in a longer array.
    longer = (np.pad(each, ((0, 0), (0, 3))) for each in (ids, mask))
    grown = jax.tree.map(np.asarray, variables)
    positions = grown["params"]["positions"]
    grown["params"]["positions"] = np.concatenate([positions, np.full((3, 8), 1e3)])
    long_model = text(style, pool=pool, max_length=reference.POSITIONS + 3).make()
    features_of_longer = run(long_model, grown, Series(*longer))
    np.testing.assert_allclose(features_of_longer, features, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("style", TEXT)
def test_padding_has_no_gradient(style):
    ids, mask, _ = ragged()
    model, variables = initialised(text(style, depth=1), ids.shape)

    def loss(variables):
        return jnp.sum(run(model, variables, Series(ids, mask))[1] ** 2)

    # Row 1 has four tokens: no gradient reaches the positions of its padding.
    gradient = jax.jit(jax.grad(loss))(variables)["params"]["positions"]
    np.testing.assert_array_equal(gradient[4:], 0)
    assert np.abs(gradient[0]).max() > 0


@pytest.mark.parametrize(("style", "pool"), POOLS[1:])
def test_rows_of_nothing_but_padding_are_finite(style, pool):
    ids, mask, _ = ragged()
    model, variables = initialised(text(style, pool=pool, depth=1), ids.shape)
    empty = mask & (np.arange(4) != 2)[:, None]

    def loss(variables):
        features = run(model, variables, Series(ids, empty))
        return jnp.sum(features**2), features

    gradients, features = jax.jit(jax.grad(loss, has_aux=True))(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((gradients, features)))
    others = np.array([0, 1, 3])
    full = run(model, variables, Series(ids, mask))
    np.testing.assert_allclose(features[others], full[others], rtol=1e-5)


@pytest.mark.parametrize("style", VISION)
def test_rows_are_independent(style):
    x = image_of(style)
    model, variables = initialised(vision(style), x.shape)
    features = run(model, variables, x)
    other = np.concatenate([x[:1], 100 + x[1:]])
    np.testing.assert_array_equal(run(model, variables, other)[0], features[0])


def test_clips_are_the_mean_over_their_frames():
    clips = pictures(2, 3, 8, 13, 3)
    model, variables = initialised(vision("deit"), clips.shape)
    features = run(model, variables, clips)
    by_frame = [run(model, variables, clips[:, t]) for t in range(3)]
    assert features.shape == (2, 8)
    np.testing.assert_allclose(features, np.mean(by_frame, axis=0), rtol=1e-5, atol=1e-6)


def test_integer_pictures_are_scaled_and_normalised_by_channel():
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 13, 3)).astype(np.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    model, variables = initialised(vision(mean=mean, std=std), x.shape)
    by_hand = ((x / 255 - np.array(mean)) / np.array(std)).astype(np.float32)
    features = run(vision().make(), variables, by_hand)
    np.testing.assert_allclose(run(model, variables, x), features, rtol=1e-4, atol=1e-5)


def resized(grid, rows, columns, kernel):
    """Interpolates [R, C, D], position by position."""
    out = np.zeros((rows, columns, grid.shape[-1]))
    for i, j in np.ndindex(rows, columns):
        y, x = (
            (k + 0.5) * s / n - 0.5
            for k, s, n in zip((i, j), grid.shape, out.shape[:2], strict=False)
        )
        for r in range(int(np.floor(y)) - 1, int(np.floor(y)) + 3):
            for c in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
                inside = np.clip(r, 0, len(grid) - 1), np.clip(c, 0, grid.shape[1] - 1)
                out[i, j] += kernel(abs(y - r)) * kernel(abs(x - c)) * grid[inside]
    return out


def bilinear(d):
    return max(1 - d, 0)


def bicubic(d):
    """Keys' cubic convolution with a = -3/4."""
    if d <= 1:
        return 1.25 * d**3 - 2.25 * d**2 + 1
    return -0.75 * d**3 + 3.75 * d**2 - 6 * d + 3 if d < 2 else 0


@pytest.mark.parametrize(
    ("style", "shape", "trained", "given", "new"),
    [
        ("vit", (8, 20, 3), (3, 3), None, (2, 5)),
        ("deit", (20, 16, 3), (2, 3), (2, 3), (5, 4)),
        ("clip", (4, 12, 12, 3), (2, 2), None, (3, 3)),
        ("ast", (8, 20, 1), (4, 5), (4, 5), (3, 9)),
        # 128 frequencies in patches of 4, 2 apart, are 63 rows.
        ("ast", (8, 10, 1), (63, 2), None, (3, 4)),
    ],
)
def test_positions_are_interpolated(style, shape, trained, given, new):
    w = reference.weights(style, int(np.prod(trained)), shape[-1])
    options = vision(style, weights_grid=given)
    params = options.variables(w, "", shape)["params"]
    key = "embeddings.position_embedding" + (".weight" if style == "clip" else "s")
    own = w[key].reshape(-1, 8)
    tokens = len(own) - int(np.prod(trained))
    kernel = bilinear if style == "ast" else bicubic
    patches = resized(own[tokens:].reshape(*trained, 8), *new, kernel)
    expected = np.concatenate([own[:tokens], patches.reshape(-1, 8)])
    np.testing.assert_allclose(params["positions"], expected, rtol=1e-5, atol=1e-6)
    fresh = fresh_shapes(options.make(), (1, *shape))
    assert fresh["params"]["positions"].shape == params["positions"].shape


def test_bert_reads_older_names_and_fewer_positions():
    w = reference.weights("bert")
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    older = {
        functools.reduce(lambda n, pair: n.replace(*pair), names.items(), name): array
        for name, array in w.items()
    }
    assert set(older) != set(w)
    options = text(max_length=4)
    variables, same = (options.variables(arrays, "", (4,)) for arrays in (older, w))
    jax.tree.map(np.testing.assert_array_equal, variables, same)
    ids = np.array([[3, 1, 2, 2]])
    features = run(options.make(), variables, ids)
    np.testing.assert_allclose(features, [reference.bert(w, ids[0])[0]], rtol=1e-5, atol=2e-6)


def case_input(kind, style):
    """Returns an input, and the shape of its array."""
    x = image_of(style) if kind is vision else Series(*ragged()[:2])
    return x, jax.tree.leaves(x)[0].shape


@pytest.mark.parametrize(("kind", "style"), [(vision, "clip"), (text, "bert")])
def test_bfloat16_computes_low_and_keeps_float32_parameters(kind, style):
    x, shape = case_input(kind, style)
    model, variables = initialised(kind(style), shape, dtype=jnp.bfloat16)
    fresh = fresh_shapes(model, shape)
    assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {jnp.dtype("float32")}
    features = run(model, variables, x)
    assert features.dtype == jnp.float32
    exact = run(kind(style).make(), variables, x)
    np.testing.assert_allclose(features, exact, rtol=0.1, atol=0.1)
    assert not np.allclose(features, exact, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "style"), [(vision, "deit"), (vision, "clip"), (text, "bert"), (text, "clip")]
)
def test_gradients_are_finite_and_reach_all_parameters(kind, style):
    x, shape = case_input(kind, style)
    model, variables = initialised(kind(style, dropout=0.2, depth=1), shape)

    def loss(variables):
        return jnp.sum(model.apply(variables, x, True, rngs={"dropout": jax.random.key(3)}) ** 2)

    gradients = jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(variables))
    assert all(np.isfinite(leaf).all() for _, leaf in gradients)
    largest = {jax.tree_util.keystr(path): np.abs(leaf).max() for path, leaf in gradients}
    # Softmax cancels the biases of keys.
    none = {name for name, size in largest.items() if size < 1e-4}
    assert none == {name for name in largest if "['key']['bias']" in name}


def test_recomputation_keeps_less_and_gives_the_same_gradients():
    x, shape = case_input(text, "bert")
    _, variables = initialised(text(), shape)
    kept = {}

    def gradients(remat):
        model = text(dropout=0.2, remat=remat).make()

        def loss(variables):
            rngs = {"dropout": jax.random.key(3)}
            return jnp.sum(model.apply(variables, x, True, rngs=rngs) ** 2)

        @jax.jit
        def compute(variables):
            value, backward = jax.vjp(loss, variables)
            kept[remat] = sum(leaf.size for leaf in jax.tree.leaves(backward))
            return backward(jnp.ones_like(value))

        return compute(variables)

    same = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(same, gradients(True), gradients(False))
    assert kept[True] < kept[False] / 2


def test_dropout_reads_its_rng_in_training_alone():
    x, shape = case_input(text, "bert")
    model, variables = initialised(text(dropout=0.5), shape)
    still = text().make()
    features = run(still, variables, x, True)  # a rate of 0 needs no rng
    np.testing.assert_array_equal(run(model, variables, x), features)
    with pytest.raises(Exception, match="dropout"):
        run(model, variables, x, True)
    a, b, again = (
        run(model, variables, x, True, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 1, 0)
    )
    np.testing.assert_array_equal(a, again)
    assert not np.allclose(a, b)
    assert not np.allclose(a, features)
