"""Configurations from any overrides: a whole one that survives JSON, or an explained error."""

import functools
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.overrides import override
from tcmax_jax.training.config.tree import ConfigError, from_dict, to_dict

BASES = [Config(), Config(data=ManifestData(manifest="clips.csv"))]


def paths_of(tree, path=""):
    """Returns the paths of all fields of a nested dictionary, sections too."""
    paths = []
    for name, value in tree.items():
        paths.append(f"{path}{name}")
        if isinstance(value, dict):
            paths += paths_of(value, f"{path}{name}.")
    return paths


PATHS = sorted({path for base in BASES for path in paths_of(to_dict(base))})
WORDS = [
    "manifest", "synthetic", "ave", "resnet18", "mlp", "frozen", "tcmax", "joint", "ogm", "sum",
    "sgd", "adamw", "features", "frames", "log_spectrogram", "cosine", "adaptive", "audio",
]  # fmt: skip
NUMBERS = st.integers() | st.floats() | st.integers(0, 300) | st.floats(0, 2)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8) | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from([*PATHS, "kind", "name"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
TEXTS = st.text(max_size=20) | st.sampled_from(WORDS) | VALUES.map(json.dumps)
OVERRIDES = st.dictionaries(
    st.sampled_from(PATHS)
    | st.sampled_from(PATHS).map(lambda p: p + ".kind")
    | st.text(max_size=20),
    TEXTS,
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("text", ["Infinity", "-Infinity", "NaN", "1e999"])
@pytest.mark.parametrize("field", ["optimizer.learning_rate", "data.stored.audio.seconds"])
def test_numbers_are_finite(field, text):
    with pytest.raises(ConfigError, match=f"{field}: Input should be a finite number"):
        override(BASES[1], {field: text})


def test_numbers_that_are_too_large():
    with pytest.raises(ConfigError, match=r"numbers of usual size, got one too large \(int too"):
        override(BASES[1], {"data.stored.audio.rate": "9" * 400})


@given(st.sampled_from(BASES), OVERRIDES)
@settings(max_examples=400)
@example(BASES[0], {"seed": "9" * 5000})
@example(BASES[0], {"name": "[" * 100_000})
def test_any_overrides_give_a_configuration_or_an_explanation(base, overrides):
    before = json.dumps(to_dict(base))
    try:
        config = override(base, overrides)
    except ConfigError as error:
        assert str(error)
    else:
        assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert json.dumps(to_dict(base)) == before


FITTING = st.fixed_dictionaries(
    {},
    optional={
        "name": st.text(min_size=1),
        "seed": st.integers(0, 2**31 - 1),
        "optimizer.learning_rate": st.floats(1e-9, 1e9),
        "training.epochs": st.integers(1, 10**6),
        "data.num_classes": st.integers(2, 1000),
        "data.audio_noise": st.floats(0, 1e6),
        "data.correlation": st.floats(0, 1),
        "data.audio_shape": st.lists(st.integers(32, 64), min_size=2, max_size=2),
    },
)


@given(FITTING)
def test_overrides_that_fit_change_their_fields_alone_and_survive_json(overrides):
    config = override(Config(), {path: json.dumps(value) for path, value in overrides.items()})
    tree, expected = to_dict(config), to_dict(Config())
    for path, value in overrides.items():
        *parents, field = path.split(".")
        functools.reduce(dict.__getitem__, parents, expected)[field] = value
    assert tree == expected
    assert from_dict(json.loads(json.dumps(tree))) == config
