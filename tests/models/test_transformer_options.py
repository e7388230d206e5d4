"""Options of transformers: what they make, and what they and their weights refuse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax.models import (
    EncoderOptions,
    TextTransformer,
    TextTransformerEncoder,
    VisionTransformer,
    VisionTransformerEncoder,
)
from tcmax_jax.section import SectionError
from tests.models import transformer_reference as reference
from tests.models.test_transformer import pictures, text, vision, vision_weights


def test_options_make_their_modules():
    assert EncoderOptions.of_kind("vit") == VisionTransformerEncoder()
    assert EncoderOptions.of_kind("text") == TextTransformerEncoder()
    base = VisionTransformerEncoder().make(jnp.bfloat16)
    assert base == VisionTransformer(dtype=jnp.bfloat16)
    assert TextTransformerEncoder().make() == TextTransformer()
    assert VisionTransformerEncoder(style="ast").make().stride == 10
    assert VisionTransformerEncoder(patch=32).make().stride == 32
    assert VisionTransformerEncoder(width=96).feature_size == 96
    assert text(width=96).feature_size == 96


@pytest.mark.parametrize(
    ("options", "shape", "parameters"),
    [
        # Hugging Face's ViT, AST and BERT base without their heads; BERT also without its pooling
        # layer and the embedding of second segments.
        (VisionTransformerEncoder(), (224, 224, 3), 85_798_656),
        (VisionTransformerEncoder(style="ast"), (128, 1024, 1), 86_187_264),
        (TextTransformerEncoder(), (512,), 109_482_240 - 590_592 - 768),
    ],
)
def test_parameter_count(options, shape, parameters):
    x = jax.ShapeDtypeStruct((1, *shape), jnp.int32 if len(shape) == 1 else jnp.float32)
    init = functools.partial(options.make().init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), x)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == parameters


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        (vision, (8,), r"vit needs pictures .* got shape \(8,\); for features use frozen or mlp"),
        (vision, (3, 13, 3), r"at least patch=4 pixels .* got shape \(3, 13, 3\); lower patch"),
        (text, (6, 2), r"text needs token ids \[length\], got shape \(6, 2\)"),
        (text, (7,), r"at most max_length=6 tokens, got 7; cut them, or raise max_length"),
    ],
)
def test_options_refuse_other_inputs(options, shape, message):
    with pytest.raises(SectionError, match=message):
        options().check_input(shape)


def test_options_accept_sizes_that_are_not_known_yet():
    vision().check_input((None, None, 3))
    vision().check_input((None, 8, 8, 3))
    text().check_input((None,))
    text().check_input((6,))


def test_heads_divide_the_width():
    with pytest.raises(SectionError, match="heads has to divide width, got heads=3 and width=8"):
        TextTransformerEncoder(width=8, heads=3)


@pytest.mark.parametrize(
    ("options", "x", "message"),
    [
        (vision, pictures(2, 8, 8), r"got shape \(2, 8, 8\)\. A spectrogram needs a channel axis"),
        (vision, pictures(2, 8, 3, 1), r"of at least patch=4, got shape \(2, 8, 3, 1\)"),
        (text, np.zeros((2, 7), int), r"length <= 6\], got shape \(2, 7\) of int.*raise max_len"),
        (text, np.zeros((2, 6), np.float32), r"integer token ids .*shape \(2, 6\) of float32"),
        (text, np.zeros((2, 6, 1), int), r"integer token ids .*shape \(2, 6, 1\)"),
    ],
)
def test_wrong_inputs_are_refused(options, x, message):
    with pytest.raises(ValueError, match=message):
        options().make().init(jax.random.key(0), x, False)


def without(w, name):
    return {key: array for key, array in w.items() if key != name}


@pytest.mark.parametrize(
    ("options", "arrays", "shape", "prefix", "message"),
    [
        (
            vision("vit"),
            vision_weights("vit") | {"blocks.0.attn.qkv.weight": np.ones(3)},
            (8, 12, 3),
            "",
            r"names of style vit with depth=2 \(embeddings\.cls_token, \.\.\), got "
            r"'blocks\.0\.attn\.qkv\.weight'\. Choose style and depth",
        ),
        (
            vision("vit", depth=1),
            vision_weights("vit"),
            (8, 12, 3),
            "",
            r"depth=1 .*, got 'encoder\.layer\.1\.",
        ),
        (
            text("bert", depth=3),
            reference.weights("bert"),
            (6,),
            "",
            r"Expected encoder\.layer\.2\.attention\.self\.query\.weight for style bert with "
            r"depth=3, got 37 of its 53 arrays without it\. Choose style and depth",
        ),
        (
            vision("deit"),
            vision_weights("vit"),
            (8, 12, 3),
            "",
            r"Expected embeddings\.distillation_token for style deit",
        ),
        (
            text("clip"),
            without(reference.weights("clip_text"), "final_layer_norm.bias"),
            (6,),
            "",
            r"Expected final_layer_norm\.bias for style clip",
        ),
        (
            vision("vit"),
            vision_weights("vit"),
            (8, 12, 3),
            "audio_net.",
            r"names begin with 'audio_net\.', got embeddings\.cls_token, .*another weights_prefix",
        ),
        (
            vision("vit"),
            vision_weights("vit"),
            (8, 12, 3),
            "",
            r"Expected positions of 2 x 2 patches, got 6\. Set weights_grid to the rows and",
        ),
        (
            text("bert", max_length=7),
            reference.weights("bert"),
            (6,),
            "",
            r"Expected at least max_length=7 positions, got 6\. Lower max_length\.",
        ),
    ],
)
def test_other_weights_are_refused(options, arrays, shape, prefix, message):
    with pytest.raises(ValueError, match=message):
        options.variables(arrays, prefix, shape)
