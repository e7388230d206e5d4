"""The optimiser against torch's update rules, written out in NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tcmax_jax.training.optimizer import SGD, AdamW, Constant, Cosine, Step

GRADS = [np.array([3.0, -4.0]), np.array([0.3, 0.1]), np.array([-0.5, 2.0])]


def run(config, epochs=3, steps_per_epoch=1, gap=np.inf):
    schedule = config.rate(epochs=epochs, steps_per_epoch=steps_per_epoch)
    optimizer = config.make(schedule)
    params = jnp.array([1.0, 2.0])
    state = optimizer.init(params)
    for grad in GRADS:
        grad = jnp.asarray(grad, jnp.float32)
        updates, state = optimizer.update(grad, state, params, gap=gap)
        params = optax.apply_updates(params, updates)
    return params


def clipped(grad, norm):
    return grad if norm is None else grad * min(1, norm / np.linalg.norm(grad))


@pytest.mark.parametrize("norm", [None, 1.0])
def test_sgd_is_that_of_torch(norm):
    """torch: g += weight_decay p; m = momentum m + g; p -= rate m, decayed after epoch 2."""
    config = SGD(
        learning_rate=0.1, schedule=Step(decay_epochs=(2,)), weight_decay=0.01, clip_norm=norm
    )
    p, m = np.array([1.0, 2.0]), np.zeros(2)
    for grad, rate in zip(GRADS, (0.1, 0.1, 0.01), strict=True):
        m = 0.9 * m + clipped(grad, norm) + 0.01 * p
        p = p - rate * m
    np.testing.assert_allclose(run(config), p, rtol=1e-5)


def test_sgd_promises_no_more_than_half_of_the_gap():
    """|g|^2 is 25, .1 and 4.25, a step's promise at rate 0.1 and momentum 0.9 just that."""
    config = SGD(learning_rate=0.1, schedule=Step(decay_epochs=(2,)))
    p, m = np.array([1.0, 2.0]), np.zeros(2)
    # Allowed is 2 / 2; the third step has a tenth of the rate and so promises .425.
    for grad, rate, factor in zip(GRADS, (0.1, 0.1, 0.01), (1 / 25, 1, 1), strict=True):
        m = 0.9 * m + factor * grad
        p = p - rate * m
    np.testing.assert_allclose(run(config, gap=2.0), p, rtol=1e-5)


def test_the_bound_logs_whether_it_acted():
    optimizer = SGD(learning_rate=0.1).make(lambda step: 0.1)
    params, logs = jnp.array([1.0, 2.0]), [{} for _ in GRADS]
    state = optimizer.init(params)
    for grad, log in zip(GRADS, logs, strict=True):
        _, state = optimizer.update(jnp.asarray(grad), state, params, gap=2.0, log=log)
    # Promised are 25, .1 and 4.25 nats, allowed is 1.
    assert [float(log["bounded_steps"]) for log in logs] == [1, 0, 1]


def test_nothing_moves_without_a_gap_and_all_of_it_under_an_infinite_one():
    config = SGD(learning_rate=0.1)
    np.testing.assert_array_equal(run(config, gap=0.0), [1, 2])
    np.testing.assert_array_equal(run(config, gap=-1.0), [1, 2])
    unbound = SGD(learning_rate=0.1, bound_decrease=False)
    np.testing.assert_array_equal(run(config), run(unbound, gap=0.0))


def test_adamw_is_that_of_torch():
    """torch: p -= rate weight_decay p; p -= rate m^ / (sqrt(v^) + 1e-8)."""
    config = AdamW(learning_rate=0.1, weight_decay=0.05, clip_norm=None)
    p, m, v = np.array([1.0, 2.0]), np.zeros(2), np.zeros(2)
    for t, grad in enumerate(GRADS, start=1):
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        step = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        p = p - 0.1 * 0.05 * p - 0.1 * step
    np.testing.assert_allclose(run(config), p, rtol=1e-5)


def rates(schedule, epochs=10, steps_per_epoch=4):
    rate = schedule.make(1.0, epochs=epochs, steps_per_epoch=steps_per_epoch)
    return np.array([rate(step) for step in range(epochs * steps_per_epoch + 1)])


def test_step_schedule_drops_after_its_epochs():
    expected = np.repeat([1.0, 0.1, 0.01], [4 * 3, 4 * 5, 9])
    np.testing.assert_allclose(rates(Step(decay_epochs=(3, 8))), expected, rtol=1e-5)


def test_cosine_ends_at_zero():
    expected = 0.5 * (1 + np.cos(np.pi * np.arange(41) / 40))
    np.testing.assert_allclose(rates(Cosine()), expected, atol=1e-6)


@pytest.mark.parametrize("schedule", [Constant(), Step(decay_epochs=(3,)), Cosine()])
def test_warmup_is_linear_and_moves_no_later_epoch(schedule):
    warm = rates(dataclasses.replace(schedule, warmup_epochs=2))
    np.testing.assert_allclose(warm[:8], np.arange(8) / 8, atol=1e-6)
    if isinstance(schedule, Cosine):
        expected = 0.5 * (1 + np.cos(np.pi * np.arange(33) / 32))
    else:
        expected = rates(schedule)[8:]
    np.testing.assert_allclose(warm[8:], expected, atol=1e-6)


PARAMS = {
    "encoders_text": {"words": {"embedding": jnp.ones(3)}, "out": {"kernel": jnp.ones(2)}},
    "head": {"bias": jnp.ones(2)},
}
TREE_GRADS = jax.tree.map(lambda x: 2 * x, PARAMS)


def step_with(optimizer, grads=TREE_GRADS):
    rule = optimizer.make(optax.constant_schedule(0.1))
    updates, _ = rule.update(grads, rule.init(PARAMS), PARAMS, gap=jnp.inf)
    return jax.tree.map(lambda x: float(x[0]), updates)


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_factors_scale_the_learning_rate_of_paths(kind):
    plain = step_with(kind(weight_decay=0.5))
    factors = {"encoders_text/*": 0.25, "*/words/*": 0.0}
    scaled = step_with(kind(weight_decay=0.5, factors=factors))
    assert scaled["head"] == plain["head"]
    expected = 0.25 * plain["encoders_text"]["out"]["kernel"]
    assert scaled["encoders_text"]["out"]["kernel"] == pytest.approx(expected)
    assert scaled["encoders_text"]["words"]["embedding"] == 0


def test_frozen_parameters_count_in_no_norm_and_may_have_broken_gradients():
    # Two gradients of 2 are left: their norm sqrt(8) is clipped to 1.
    factors = {"encoders_text/*": 0.0}
    optimizer = SGD(clip_norm=1.0, bound_decrease=False, momentum=0.0, factors=factors)
    broken = {
        **TREE_GRADS,
        "encoders_text": jax.tree.map(lambda x: x * jnp.nan, PARAMS)["encoders_text"],
    }
    for grads in (TREE_GRADS, broken):
        steps = step_with(optimizer, grads)
        assert steps["head"]["bias"] == pytest.approx(-0.1 * 2 / np.sqrt(8))
        assert steps["encoders_text"]["words"]["embedding"] == 0


def test_factors_that_fit_nothing_are_refused():
    SGD(factors={"head/*": 2.0}).check_factors(PARAMS)
    message = (
        r"optimizer\.factors to name parameters, got 'encoders_txt/\*', which fits none\. They "
        r"begin with encoders_text/out, encoders_text/words, head/bias"
    )
    with pytest.raises(ValueError, match=message):
        SGD(factors={"encoders_txt/*": 0.0}).check_factors(PARAMS)
