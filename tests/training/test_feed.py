"""Batches on their way to the devices."""

import jax
import numpy as np
import pytest

from tcmax_jax.training import parallel
from tcmax_jax.training.feed import Feed


def test_every_batch_comes_once_and_in_order():
    assert list(Feed(iter(range(7)), lambda x: 10 * x)) == [10 * x for x in range(7)]
    assert list(Feed(iter(()), int)) == []


def test_batches_move_ahead_of_their_use():
    moved = []
    feed = Feed(iter(range(6)), lambda x: moved.append(x) or x, ahead=2)
    assert moved == []
    assert next(feed) == 0
    assert moved == [0, 1, 2]
    assert [next(feed), next(feed)] == [1, 2]
    assert moved == [0, 1, 2, 3, 4]


def test_time_spent_on_the_pipeline_is_counted_once(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("tcmax_jax.training.feed.time.monotonic", lambda: now[0])

    def passing(seconds, x):
        now[0] += seconds
        return x

    feed = Feed((passing(3.0, x) for x in range(4)), lambda x: passing(50.0, x))
    list(feed)
    assert feed.waited() == 12.0
    assert feed.waited() == 0.0


@pytest.mark.parametrize("kind", parallel.KINDS)
def test_put_shards_over_the_devices(devices, kind):
    batch = {"inputs": {"audio": np.arange(24.0).reshape(8, 3)}, "label": np.arange(8)}
    over = parallel.KINDS[kind](devices)
    moved = over.put(batch)
    assert {d for x in jax.tree.leaves(moved) for d in x.devices()} == set(devices)
    assert all(len(x.addressable_shards) == 4 for x in jax.tree.leaves(moved))
    for number, shard in enumerate(moved["label"].addressable_shards):
        np.testing.assert_array_equal(np.ravel(shard.data), [2 * number, 2 * number + 1])
    jax.tree.map(np.testing.assert_array_equal, over.rows(moved), batch)
