"""What holds for every method there is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax.methods import MethodOptions
from tcmax_jax.models import head_of
from tcmax_jax.training.checkpoint import Checkpoints
from tcmax_jax.training.checkpoint_reader import SELECTED_BY
from tcmax_jax.training.step import training_key
from tests.methods.problem import (
    B,
    C,
    NormedEncoder,
    Problem,
    heads_of,
    make_batch,
    make_method,
)
from tests.methods.reference import cross_entropy, random_params

METHODS = tuple(MethodOptions.members())
# Options that make a method act from the first step of a short run.
ACTIVE = {
    "opm": {"warmup_epochs": 0},
    "pmr": {"entropy_weight": 0.1, "entropy_epochs": 9},
}
# Every method, and the variants of which another than the default runs through other code.
CASES = {name: (name, ACTIVE.get(name, {})) for name in METHODS} | {
    "mla-owm": ("mla", {"projection": "owm"}),
    "agm-split": ("agm", {"response": "split"}),
    "pmr-binary": ("pmr", {"weights": "binary"}),
    "opm-ratio": ("opm", {"warmup_epochs": 0, "probabilities": "ratio"}),
}
THREE = ("audio", "visual", "text")
# Those with turns of their own, and one of all others, whose only turn follows a loss.
TURNS = ("tcmax", *(name for name in METHODS if make_method(name, THREE).loss is None))


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """Returns each case in turn; pytest runs all tests of one before those of the next."""
    return request.param


# Compiling is most of the time of these tests: those of a case share its problems.
@functools.lru_cache(maxsize=3)
def problem(case, **options):
    """Returns a toy problem: of three modalities for a method, of two for its variants."""
    name, active = CASES[case]
    return Problem(name, modalities_of(case), **(active | options))


def modalities_of(case):
    return THREE if case in METHODS else THREE[:2]


def batches(steps, case, **options):
    return [
        make_batch(number, modalities=modalities_of(case), **options) for number in range(steps)
    ]


def assert_states_close(one, other, rtol=0.0, atol=0.0):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, expected), got in zip(
        jax.tree.leaves_with_path(one), jax.tree.leaves(other), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol, err_msg=str(path))


def test_four_devices_equal_one_and_nothing_compiles_twice(devices, case):
    toy = problem(case)
    one, metrics_of_one = toy.run(devices[:1], batches(3, case))
    before = toy.traces
    four, metrics_of_four = toy.run(devices, batches(3, case))
    assert toy.traces == before + 1
    for expected, got in zip(metrics_of_one, metrics_of_four, strict=True):
        assert got == pytest.approx(expected, rel=1e-4, abs=1e-5)
    # Float32 sums in another order; the noise of OGM-GE is the same draw on any number of devices.
    assert_states_close(one, four, rtol=1e-3, atol=1e-5)


def test_batch_statistics_follow_every_encoder_on_any_number_of_devices(devices, case):
    if case not in TURNS:
        pytest.skip("methods encode in their turns alone")
    toy = problem(case, encoder=NormedEncoder)
    (one, _), (four, _) = (toy.run(used, batches(2, case)) for used in (devices[:1], devices))
    assert_states_close(one, four, rtol=1e-3, atol=1e-5)
    for m in THREE:
        mean = one.batch_stats[f"encoders_{m}"]["BatchNorm_0"]["mean"]
        assert np.any(mean != toy.state.batch_stats[f"encoders_{m}"]["BatchNorm_0"]["mean"])


def test_the_state_keeps_structure_shapes_and_dtypes(devices, case):
    toy = problem(case)
    after, _ = toy.run(devices[:1], batches(1, case))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), toy.state
    )
    assert int(after.step) == 1


def test_the_loss_falls_and_predictions_come_right(devices, case):
    toy = problem(case)
    after, metrics = toy.run(devices[:1], batches(90, case))
    batch = make_batch(batch_size=48, modalities=modalities_of(case))
    features = toy.model.apply({"params": after.params}, batch["inputs"], method="encode")
    scores = toy.method.predict(head_of(toy.model, after.params), features)
    assert np.mean(np.argmax(scores, -1) == batch["label"]) > 0.9
    losses = [m["loss"] for m in metrics]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.3


def test_masked_rows_do_not_act_on_others(devices, case):
    where = np.arange(B) % 5 != 2
    toy, ends = problem(case), []
    for scale in (1.0, 50.0):
        spoiled = batches(2, case, where=where)
        for batch in spoiled:
            for x in batch["inputs"].values():
                x[~where] *= scale
        ends.append(toy.run(devices[:1], spoiled))
    assert_states_close(ends[0][0], ends[1][0], rtol=1e-5, atol=1e-6)
    assert ends[0][1] == [pytest.approx(m, rel=1e-5, abs=1e-6) for m in ends[1][1]]


def test_a_device_without_a_valid_row_does_not_act(devices, case):
    where = np.arange(B) % 5 != 2
    where[B // 4 : B // 2] = False  # all rows of the second of four devices
    toy, spoiled = problem(case), batches(2, case, where=where)
    expected, metrics = toy.run(devices[:1], batches(2, case, where=where))
    for batch in spoiled:
        for x in batch["inputs"].values():
            x[~where] *= 50.0
    got, metrics_of_four = toy.run(devices, spoiled)
    assert_states_close(expected, got, rtol=1e-3, atol=1e-5)
    assert metrics == [pytest.approx(m, rel=1e-4, abs=1e-5) for m in metrics_of_four]


def test_resuming_from_a_checkpoint_is_bit_equal(devices, case, tmp_path):
    toy = problem(case)
    unbroken, _ = toy.run(devices[:1], batches(4, case))
    half, _ = toy.run(devices[:1], batches(4, case)[:2])
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(half, {SELECTED_BY: 0.5})
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(2, like=toy.state)
    assert_states_close(half, restored)
    resumed, _ = toy.run(devices[:1], batches(4, case)[2:], state=restored)
    assert_states_close(unbroken, resumed)


def test_accuracy_and_cross_entropy_of_the_batch_are_those_of_the_prediction(devices, case):
    toy = problem(case)
    params = random_params(toy)
    where = np.arange(B) < 11
    _, [metrics] = toy.run(
        devices[:1], batches(1, case, where=where), state=toy.state._replace(params=params)
    )
    batch = make_batch(modalities=modalities_of(case))
    head = head_of(toy.model, params)
    features = toy.model.apply({"params": params}, batch["inputs"], method="encode")
    if len(toy.method.turns) == 1:
        name, scores = "", toy.method.predict(head, features)
    else:  # The first turn trains a modality of its own; the next ones see other parameters.
        name, scores = "/audio", head.modality_logits(features)["audio"]
    scores, labels = scores[:11], batch["label"][:11]
    assert metrics[f"cross_entropy{name}"] == pytest.approx(
        cross_entropy(scores, labels).mean(), rel=1e-4
    )
    correct = [np.argmax(row) == y for row, y in zip(scores, labels, strict=True)]
    assert metrics[f"accuracy{name}"] == pytest.approx(np.mean(correct), rel=1e-6)


def test_unknown_keys_of_the_batch_are_ignored(devices, case):
    if case not in TURNS:
        pytest.skip("methods look at the batch in their turns alone")
    toy = problem(case)
    expected, _ = toy.run(devices[:1], batches(1, case))
    extra = make_batch(modalities=THREE) | {"clip_name": np.zeros(B, np.int32)}
    got, _ = toy.run(devices[:1], [extra])
    assert_states_close(expected, got)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_stay_finite(devices, case, size):
    toy = problem(case)
    params = dict(toy.state.params)
    params["head"] = jax.tree.map(
        lambda x: np.full_like(x, size) * np.linspace(-1, 1, x.size).reshape(x.shape),
        params["head"],
    )
    _, metrics = toy.run(devices[:1], batches(1, case), state=toy.state._replace(params=params))
    assert all(np.isfinite(value) for value in metrics[0].values()), metrics[0]


def test_every_encoder_is_trained(devices, case):
    toy = problem(case)
    after, metrics = toy.run(devices[:1], batches(3, case))
    assert np.isfinite([m["loss"] for m in metrics]).all()
    for m in modalities_of(case):
        encoders = (state.params[f"encoders_{m}"] for state in (after, toy.state))
        moved = jax.tree.map(lambda x, y: np.any(x != y), *encoders)
        assert any(jax.tree.leaves(moved)), m


def test_every_registered_fusion_trains():
    for name in METHODS:
        # Methods that only have a loss take features to logits in one way, whatever they are.
        heads = heads_of(name)
        for fusion in heads if name in TURNS else {heads[0], heads[-1]}:
            toy = Problem(name, fusion=fusion, **ACTIVE.get(name, {}))
            state = jax.eval_shape(toy.init)
            shapes = jax.eval_shape(toy.step, state, make_batch(), training_key(3))
            assert shapes[0].step.dtype == jnp.int32, (name, fusion)
            assert toy.model.head.num_classes == C
