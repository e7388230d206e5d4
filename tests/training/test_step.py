"""The train step: one device equals four, gradients flow, nothing is compiled twice."""

import functools

import jax
import numpy as np
import pytest

from tcmax_jax import methods
from tcmax_jax.models import MLP, HeadOptions, MultimodalClassifier
from tcmax_jax.training import parallel
from tcmax_jax.training.optimizer import SGD
from tcmax_jax.training.state import init_state
from tcmax_jax.training.step import train_step, training_key
from tests.methods.problem import NormedEncoder

B, C = 16, 4


def make_batch(seed):
    rng = np.random.default_rng(seed)
    return {
        "inputs": {
            "audio": rng.normal(size=(B, 24)).astype(np.float16),
            "visual": rng.integers(0, 256, (B, 2, 8, 8, 3)).astype(np.uint8),
        },
        "label": rng.integers(0, C, B).astype(np.int32),
        "where": np.arange(B) != 5,
        "index": np.arange(B, dtype=np.int32),
    }


def build(fusion, method, audio=None):
    encoders = {
        "audio": audio or MLP(sizes=(4,)),
        "visual": MLP(sizes=(4,), mean=(0.5,), std=(0.25,)),
    }
    model = MultimodalClassifier(encoders, HeadOptions.of_kind(fusion).make(("audio", "visual"), C))
    config = SGD(learning_rate=0.1, clip_norm=0.5, weight_decay=1e-3)
    optimizer = config.make(config.rate(epochs=1, steps_per_epoch=1))
    init = functools.partial(init_state, model, optimizer, method, 64)
    state = jax.jit(init)(make_batch(0)["inputs"], jax.random.key(0))
    step = functools.partial(train_step, model=model, optimizer=optimizer, method=method)
    return step, jax.device_get(state)


def run(step, state, over, steps=3):
    mapped = over.train_step(step)
    state, key = over.replicate((state, training_key(3)))
    metrics = []
    for seed in range(steps):
        before = state
        state, values = mapped(before, over.put(make_batch(seed)), key)
        assert all(x.is_deleted() for x in jax.tree.leaves(before)), "the state was not donated"
        jax.block_until_ready(state)
        metrics.append(over.scalars(values))
    return over.first(state), metrics


CASES = {
    "joint": ("gated", methods.Joint().make()),
    # Additive, with statistics of all devices.
    "batch-norm": ("concat", methods.TCMax().make(), NormedEncoder()),
    "unimodal": ("sum", methods.Unimodal().make()),
    "tcmax-exhaustive": ("film", methods.TCMax().make()),
    "tcmax-sampled": ("bigated", methods.TCMax(num_negatives=50).make()),
}


@functools.cache
def on_one_device(case):
    """Returns step, first state, last state and metrics; both ways over devices equal these."""
    step, state = build(*CASES[case])
    return step, state, *run(step, state, parallel.Pmap(jax.devices()[:1]))


# Methods are tested on several devices in test_conformance.py, their losses in test_devices.py.
# Both ways hand the same step what it sees: those whose step looks at its place among the devices,
# or talks to the others in the forward pass, go both.
@pytest.mark.parametrize(
    ("case", "kind"),
    [("tcmax-exhaustive", "pmap")]
    + [(case, kind) for case in ("batch-norm", "tcmax-sampled") for kind in parallel.KINDS],
)
def test_four_devices_equal_one(devices, case, kind):
    step, state, one, metrics_of_one = on_one_device(case)
    traces = []

    def counted(*args, **kwargs):
        traces.append(case)
        return step(*args, **kwargs)

    four, metrics_of_four = run(counted, state, parallel.KINDS[kind](devices))
    assert len(traces) == 1, "compiled again after the first step"
    for expected, got in zip(metrics_of_one, metrics_of_four, strict=True):
        assert expected.keys() == got.keys()
        for name in expected:
            assert got[name] == pytest.approx(expected[name], rel=2e-3, abs=1e-4), name
    for (path, expected), got in zip(
        jax.tree.leaves_with_path(one), jax.tree.leaves(four), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=5e-3, atol=2e-4, err_msg=str(path))


@pytest.mark.parametrize("case", CASES)
def test_everything_is_trained(case):
    _, before, after, metrics = on_one_device(case)
    assert int(after.step) == 3
    for (path, old), new in zip(
        jax.tree.leaves_with_path(before.params), jax.tree.leaves(after.params), strict=True
    ):
        assert np.any(old != new), f"{path} is not trained"
    # The head starts at zero: a uniform prediction, and no gradient that reaches the encoders.
    uniform = {"joint": np.log(C), "unimodal": 2 * np.log(C)}.get(case, 0)
    assert metrics[0]["loss"] == pytest.approx(uniform, abs=1e-6)
    assert metrics[0]["grad_norm/audio"] == 0 < metrics[0]["grad_norm"]
    assert 0 < metrics[1]["grad_norm/audio"] < metrics[1]["grad_norm"]
    # Methods without a floor are not bounded; TCMax's loss is far from its own here.
    assert [m["bounded_steps"] for m in metrics] == [0, 0, 0]
