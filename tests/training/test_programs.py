"""Runs share programs where these are the same, and where they were asked to."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from tcmax_jax.commands.stand_in import stand_in
from tcmax_jax.step_bound import bound_decrease
from tcmax_jax.training import passes, programs
from tcmax_jax.training.build import build
from tcmax_jax.training.programs import changed, make_programs, programs_of, shared_programs
from tcmax_jax.training.step import training_key
from tests.training.tiny import tiny_config


@pytest.fixture(autouse=True)
def _outside():
    """Leaves what the suite shares."""
    token = programs._SHARED.set(None)
    yield
    programs._SHARED.reset(token)


def setup_of(devices, **overrides):
    config = tiny_config(**overrides)
    return build(config, None, devices, stand_in(config, 3))


@shared_programs()
def test_seeds_share_all_programs_and_other_runs_none(devices):
    first = setup_of(devices[:1])
    turned = dict(reversed(first.config.modalities.items()))
    turned = first._replace(config=dataclasses.replace(first.config, modalities=turned))
    assert programs_of(turned) is not first.programs
    assert setup_of(devices[:1], seed=5).programs is first.programs
    assert setup_of(devices[1:2]).programs is not first.programs
    for other in (
        {"method": "joint"},
        {"method__num_negatives": 8},
        {"model__fusion": "gated"},
        {"optimizer__learning_rate": 0.2},
        {"training__epochs": 5},
        {"training__batch_size": 8},
        {"training__accumulate": 2},
        {"training__parallel": "shard_map"},
        {"modalities__audio__encoder__sizes": "[16]"},
        {"modalities__audio__input__standardize": "true"},
    ):
        assert setup_of(devices[:1], **other).programs is not first.programs, other


@shared_programs()
def test_priors_and_numbers_of_examples_are_told_apart(devices):
    setup = setup_of(devices[:1])
    priors = ([0.5, 0.25, 0.25], [0.25, 0.5, 0.25])
    methods = [setup.method._replace(label_prior=np.array(p, np.float32)) for p in priors]
    fewer = setup.dataset._replace(sources=setup.dataset.sources | {"train": range(9)})
    others = [setup._replace(method=m) for m in methods] + [setup._replace(dataset=fewer)]
    assert len({id(programs_of(each)) for each in (setup, *others)}) == 4


def test_nothing_is_shared_outside_or_afterwards(devices):
    assert setup_of(devices[:1]).programs is not setup_of(devices[:1]).programs
    with shared_programs():
        with shared_programs():
            inner = setup_of(devices[:1])
        assert setup_of(devices[:1]).programs is inner.programs
    assert setup_of(devices[:1]).programs is not inner.programs


@shared_programs()
def test_those_used_last_are_kept(devices, monkeypatch):
    monkeypatch.setattr(programs, "_SHARED_AT_MOST", 2)
    sizes = (4, 5, 4, 6)  # 4 was used after 5
    setups = {n: setup_of(devices[:1], modalities__audio__encoder__sizes=f"[{n}]") for n in sizes}
    kept = {n: programs_of(setup) is setup.programs for n, setup in setups.items()}
    assert kept == {4: True, 5: False, 6: False}  # 5, made anew, took the place of 6


def traced(function, *args):
    """Returns what a function returns, and what was traced or compiled for it."""
    names = []

    def listen(name, seconds, **_):
        if "trace" in name or "compile" in name:
            names.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        return function(*args), names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def two_steps(setup):
    """Returns state and metrics after two steps of the first epoch."""
    over = setup.parallel
    state, key = over.replicate((passes.initial_state(setup), training_key(setup.config.seed)))
    state = passes.epoch_opener(setup)(state, 1)
    for _, batch in zip(range(2), passes.training_batches(setup, 0), strict=False):
        state, metrics = setup.programs.step(state, over.put(batch), key)
    return over.first(state), over.scalars(metrics)


def test_other_parts_take_effect_in_the_programs(devices):
    setup = setup_of(devices[:1], optimizer__bound_decrease="false")
    bounded = optax.chain(bound_decrease(setup.schedule, 0.9), setup.optimizer)
    assert "bounded_steps" not in two_steps(setup)[1]
    assert "bounded_steps" in two_steps(changed(setup, optimizer=bounded))[1]


@pytest.mark.parametrize("method", ["tcmax", "pmr"])  # pmr has a program for epochs, too
def test_a_second_seed_traces_nothing_and_has_the_numbers_of_a_run_alone(devices, method):
    options = {"method": method, "model__fusion": "sum"}
    with shared_programs():
        two_steps(setup_of(devices[:2], **options))
        second = setup_of(devices[:2], **options, seed=1)
        (state, metrics), names = traced(two_steps, second)
        assert not names
    alone = second._replace(programs=make_programs(second))
    (expected, expected_metrics), names = traced(two_steps, alone)
    assert names
    assert metrics == expected_metrics
    jax.tree.map(np.testing.assert_array_equal, state, expected)
