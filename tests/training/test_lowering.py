"""Programs that are lowered from shapes are those of a run."""

import jax
import pytest

from tcmax_jax.commands.stand_in import stand_in
from tcmax_jax.training import passes
from tcmax_jax.training.build import build
from tcmax_jax.training.lowering import lower_encoding, lower_loss, lower_training
from tcmax_jax.training.parallel import KINDS
from tcmax_jax.training.step import training_key
from tests.training.tiny import tiny_config


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_are_those_of_what_training_and_evaluation_pass(devices, kind):
    config = tiny_config(training__parallel=kind)
    setup = build(config, None, devices, stand_in(config, 3))
    over = setup.parallel
    state = over.replicate(passes.initial_state(setup))
    batch = over.put(next(passes.training_batches(setup, 0)))
    size = config.training.batch_size
    (got, _) = lower_training(setup, size).in_avals
    key = over.replicate(training_key(config.seed))
    assert shapes(got) == shapes((state, batch, key))
    (got, _) = lower_encoding(setup, size).in_avals
    assert shapes(got) == shapes((state, batch["inputs"]))


def test_the_loss_is_what_its_step_has_more(devices):
    flops = []
    for classes in (10, 1000):
        config = tiny_config(training__batch_size=64)
        setup = build(config, None, devices[:1], stand_in(config, classes))
        whole, rest = (x.cost_analysis()["flops"] for x in lower_loss(setup, 64))
        flops.append(whole - rest)
    # Some operations for each logit of the two parts; the products of matrices are in both.
    assert flops[0] > 0
    assert 2 < (flops[1] - flops[0]) / (2 * 64 * 990) < 60


@pytest.mark.parametrize("kind", KINDS)
def test_runs_of_other_seeds_have_the_same_programs(devices, kind):
    fields = {"model__fusion": "gated", "method__num_negatives": 8, "training__parallel": kind}
    programs = set()
    for seed in (0, 2**31):
        config = tiny_config(seed=seed, **fields)
        setup = build(config, None, devices, stand_in(config, 3))
        programs.add(lower_training(setup, config.training.batch_size).as_text())
    assert len(programs) == 1
