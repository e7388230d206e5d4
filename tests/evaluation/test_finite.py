"""No example with numbers that are not finite is scored."""

import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax import methods
from tcmax_jax.evaluation.analysis import analyse
from tcmax_jax.evaluation.evaluate import evaluate_split
from tcmax_jax.evaluation.finite import NonFiniteError, check_finite
from tcmax_jax.evaluation.outputs import Outputs
from tcmax_jax.losses import AdditiveHead
from tests.evaluation.test_metrics import FEATURES, HEAD, LABELS, padded_batches

JOINT = methods.Joint().make()


def evaluated(batches, head=HEAD, method=JOINT, **options):
    return evaluate_split(lambda inputs: inputs, head, method, batches, **options)


def spoilt(name, row, value):
    """Returns a copy of the features with one number of another value."""
    features = {m: z.copy() for m, z in FEATURES.items()}
    features[name][row, 0] = value
    return features


def batch_of(features):
    about = {"label": LABELS, "where": np.ones(4, bool), "index": np.arange(4)}
    return [{"inputs": features, **about}]


@pytest.mark.parametrize(("value", "text"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_a_feature_that_is_not_finite_is_named(value, text):
    message = f"Expected finite features of visual, got {text} for example 2. Fix it"
    with pytest.raises(NonFiniteError, match=message):
        evaluated(batch_of(spoilt("visual", 2, value)))


def test_the_example_is_described_by_whoever_knows_it():
    with pytest.raises(NonFiniteError, match=r"got nan for number 3 of them$"):
        evaluated(batch_of(spoilt("audio", 3, np.nan)), about="number {} of them".format)


def test_padding_may_hold_anything():
    *batches, padding = padded_batches()
    padding["inputs"] = {m: np.full_like(z, np.nan) for m, z in padding["inputs"].items()}
    found = evaluated([*batches, padding])
    assert found.metrics == evaluated(batches).metrics


def test_large_logits_are_finite():
    features = {m: 1e4 * z for m, z in FEATURES.items()}
    metrics = evaluated(batch_of(features), dropped=["audio"], hard=True).metrics
    assert all(map(np.isfinite, metrics.values()))


def nan_where(broken, z):
    return jnp.where(broken, jnp.nan, 1.0) * z


def needs_sound(head, features):
    parts = head.modality_logits(features)
    return nan_where("audio" not in parts, sum(parts.values()))


NEEDS_SOUND = JOINT._replace(predict=needs_sound)


@pytest.mark.parametrize(
    ("head", "options", "name"),
    [
        (AdditiveHead(lambda z: {**z, "audio": nan_where(True, z["audio"])}), {}, "fused"),
        # Sound and picture of different examples.
        (
            lambda z: nan_where(len(z["audio"]) > len(LABELS), z["visual"]),
            {},
            "from audio alone",
        ),
        # A rule that needs the sound.
        (HEAD, {"method": NEEDS_SOUND, "dropped": ["audio"]}, "without/audio"),
        (HEAD, {"method": NEEDS_SOUND, "hard": True}, "without/audio"),
        (
            lambda z: nan_where(jnp.any(z["audio"] != jnp.round(z["audio"])), z["visual"]),
            {"hard": True, "noise": (2.0,)},
            "noise/audio=2",
        ),
    ],
)
def test_scores_that_are_not_finite_are_named_with_their_condition(head, options, name):
    with pytest.raises(NonFiniteError, match=rf"Expected finite scores \({name}\), got nan for ex"):
        evaluated(batch_of(FEATURES), head, **options)


def test_noise_stays_within_the_numbers_of_a_narrow_type():
    features = {m: np.float16(6e4 * np.sign(z - 1)) for m, z in FEATURES.items()}
    head = AdditiveHead(lambda z: {m: x.astype(np.float32) for m, x in z.items()})
    found = evaluated(batch_of(features), head, hard=True, noise=(4.0,))
    assert any(condition.noisy for condition in found.predicted)


def test_stored_outputs_are_not_analysed_where_they_are_not_finite():
    outputs = Outputs(
        labels=LABELS,
        scores={"fused": sum(FEATURES.values())},
        features=spoilt("audio", 1, np.nan),
        predicted={},
        class_names=["a", "b", "c"],
        dataset="made",
        split="test",
    )
    with pytest.raises(NonFiniteError, match=r"features of audio, got nan for test example 1\. --"):
        analyse(outputs)


def test_arrays_of_any_rank_are_looked_at():
    check_finite({"integers": np.arange(3), "none": np.zeros((0, 2))}, str)
    cube = np.zeros((3, 2, 2))
    cube[1, 1, 0] = np.inf
    with pytest.raises(NonFiniteError, match="Expected finite cube, got inf for 1"):
        check_finite({"cube": cube}, str)
