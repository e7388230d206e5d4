"""Fits on small samples: XOR, Gaussians, labels; memory, repeatability and refusals."""

import functools
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcmax_jax.estimators import (
    AdditiveCritic,
    JointCritic,
    SeparableCritic,
    direct,
    fit,
    ground_truth,
    label_information,
    make_estimator,
    mutual_information,
    prepare,
    split,
)
from tcmax_jax.estimators.estimator import State
from tcmax_jax.estimators.fit import Split

JOINT = functools.partial(JointCritic, sizes=(16,))
QUICK = {"steps": 200, "eval_every": 100, "batch_size": 128, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def bits():
    samples = ground_truth.xor_bits().sample(jax.random.key(0), 2000)
    return split(prepare(samples), held_out=0.5)


@functools.cache
def of_a_pair(bound):
    """Returns the estimator of `pair_of`; one for all tests, since it is compiled with its fits."""
    return mutual_information(bound, ("left",), ("right",), critic=JOINT)


def pair_of(parts, left, right):
    """Returns two of the variables of a split."""
    return Split(*({"left": part[left], "right": part[right]} for part in parts))


def test_direct_estimate_sees_xor(bits):
    critic = functools.partial(SeparableCritic, sizes=(16,), dim=8)
    estimate = fit(bits, direct("avy", num_negatives=512, critic=critic), **QUICK).estimate
    # Plus what the frequencies of 500 bits leave open.
    assert abs(estimate.value - math.log(2)) < 3 * estimate.standard_error + 0.02
    assert estimate.standard_error < 0.1


@pytest.mark.parametrize("bound", ["infonce", "mine"])
def test_no_pair_of_variables_sees_xor(bits, bound):
    for left, right in ("av", "ay", "vy"):
        estimate = fit(pair_of(bits, left, right), of_a_pair(bound), **QUICK).estimate
        assert abs(estimate.value) < 3 * estimate.standard_error + 0.01


def test_gaussians():
    truth = ground_truth.equicorrelated_gaussians(1.0, num_variables=3, dim=1)
    critic = functools.partial(AdditiveCritic, sizes=(8,), dim=4)
    estimator = make_estimator("tcne", ("x1", "x2", "x3"), num_negatives=512, critic=critic)
    samples = truth.sample(jax.random.key(1), 3000)
    told = []
    fitted = fit(
        samples,
        estimator,
        steps=300,
        eval_every=100,
        learning_rate=0.02,
        progress=lambda *now: told.append(now),
    )
    assert [(name, step, of) for name, step, of, _ in told] == [
        ("tcne", step, 300) for step in (0, 100, 200, 300)
    ]
    assert [now.value for *_, now in told] == [r.value for r in fitted.running]
    assert abs(fitted.estimate.value - 1) < 3 * fitted.estimate.standard_error + 0.05
    assert [r.step for r in fitted.running] == [0, 100, 200, 300]
    assert fitted.running[0].value < 0.2 < 0.8 < fitted.running[-1].value


def test_total_correlation_does_not_see_a_bijection():
    """The same examples and their cubes, which crowd at 0 and have heavy tails."""
    truth = ground_truth.equicorrelated_gaussians(1.0, num_variables=3, dim=1)
    critic = functools.partial(JointCritic, sizes=(32, 32))
    estimator = make_estimator("tcne", ("x1", "x2", "x3"), num_negatives=512, critic=critic)
    options = QUICK | {"steps": 800, "learning_rate": 0.01}
    plain, cubed = (
        fit(each.sample(jax.random.key(1), 4000), estimator, **options).estimate
        for each in (truth, ground_truth.cubic(truth))
    )
    # On the same held-out examples, so that most of the two errors cancels.
    influence = plain.influence - cubed.influence
    error = np.sqrt(np.sum(influence**2)) / len(influence)
    assert error < plain.standard_error
    # Beyond chance a small critic may lose a tenth of a nat on cubes, and gain nothing.
    assert -3 * error < plain.value - cubed.value < 3 * error + 0.1
    assert abs(plain.value - 1) < 3 * plain.standard_error + 0.05
    assert abs(cubed.value - 1) < 3 * cubed.standard_error + 0.1


def test_information_of_a_label():
    table = np.array([[0.4, 0.05, 0.05], [0.05, 0.15, 0.3]])
    truth = ground_truth.discrete(table)
    samples = truth.sample(jax.random.key(0), 3000)
    estimate = fit(samples, label_information(("x2",), "x1", sizes=(8,)), **QUICK).estimate
    assert abs(estimate.value - truth.total_correlation) < 3 * estimate.standard_error
    assert estimate.standard_error < 0.05


def test_a_value_neither_reads_nor_moves_the_moving_average(bits):
    estimator = mutual_information("mine", "a", "v", critic=JOINT)
    batch = {m: x[:32] for m, x in bits.train.items()}
    key = jax.random.key(0)
    state = jax.jit(estimator.init)(key, batch)
    step = jax.jit(
        jax.value_and_grad(
            lambda params, memory: estimator.loss(State(params, memory), batch, key), has_aux=True
        )
    )
    (_, memory), gradient = step(state.params, state.memory)
    assert memory != state.memory
    # The average is in the gradient; the value takes none, so there is none that it could move.
    _, other = step(state.params, state.memory + 2)
    leaves = zip(jax.tree.leaves(gradient), jax.tree.leaves(other), strict=True)
    assert any(jnp.any(a != b) for a, b in leaves)
    assert "memory" not in inspect.signature(estimator.value).parameters


def test_the_same_seed_gives_the_same_estimate(bits):
    pair, estimator, options = pair_of(bits, "a", "v"), of_a_pair("infonce"), QUICK | {"steps": 100}
    values = [fit(pair, estimator, seed=seed, **options).estimate.value for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_the_step_is_chosen_on_validation_examples():
    rng = np.random.default_rng(0)
    noise = {m: rng.normal(size=(60, 20)) for m in "ab"}
    estimator = mutual_information(
        "nwj", "a", "b", critic=functools.partial(JointCritic, sizes=(16,))
    )
    fitted = fit(noise, estimator, steps=400, eval_every=200, learning_rate=0.02)
    # Learnt by heart: the last running estimate is far below 0, and the first step is taken.
    assert fitted.running[-1].value < -1
    assert fitted.best_step == 0
    assert fitted.estimate.value > fitted.running[-1].value + 1


def test_too_few_examples():
    with pytest.raises(ValueError, match=r"two examples or more to fit, validate and test on, got"):
        fit({"a": np.zeros(4), "b": np.zeros(4)}, direct("ab"))
