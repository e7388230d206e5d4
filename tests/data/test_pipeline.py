"""Claims about order, augmentation, padding and sharing of the batches, on ten tiny records."""

import contextlib
import os

import numpy as np
import pytest

from tcmax_jax.data.pipeline import Process, Readers, eval_batches, train_batches

SOURCE = [{"id": f"r{i}", "label": (3 * i) % 4, "value": 100 + i, "noise": 0} for i in range(10)]
BATCH, EPOCHS, STEPS = 4, 3, 2  # ten records make two batches of four, two records are left over
THREADS = Readers(threads=2, workers=0)
ALONE = Process()


def stored(value, seed):
    del seed
    return np.float32(value)


def drawn(value, seed):
    del value
    return np.random.default_rng(seed).random()


def seed_given(value, seed):
    del value
    return np.bool_(seed is not None)


def process_id(value, seed):
    del value, seed
    return np.int64(os.getpid())


DEFAULTS = {
    "source": SOURCE,
    "transforms": {"value": stored, "noise": drawn},
    "batch_size": BATCH,
    "epochs": EPOCHS,
    "seed": 0,
    "readers": THREADS,
    "process": ALONE,
}


def train(**changes):
    with contextlib.closing(train_batches(**{**DEFAULTS, **changes})) as batches:
        return list(batches)


def evaluate(source, *, process=ALONE):
    transforms = {"value": stored, "noise": seed_given}
    options = {"batch_size": BATCH, "readers": THREADS, "process": process}
    return list(eval_batches(source, transforms, **options))


def indices(batches):
    return np.concatenate([batch["index"] for batch in batches])


def noises(batches):
    return np.concatenate([batch["inputs"]["noise"] for batch in batches])


def epochs_of(batches):
    return [indices(batches[i : i + STEPS]).tolist() for i in range(0, len(batches), STEPS)]


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for one, other in zip(batches, expected, strict=True):
        one, other = {**one, **one["inputs"]}, {**other, **other["inputs"]}
        assert one.pop("inputs").keys() == other.pop("inputs").keys()
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], strict=True)


def test_form_of_a_batch():
    batch = train()[0]
    assert set(batch) == {"inputs", "label", "where", "index"}
    assert set(batch["inputs"]) == {"value", "noise"}
    assert batch["inputs"]["value"].shape == (BATCH,)
    dtypes = {key: batch[key].dtype for key in ("label", "where", "index")}
    assert dtypes == {"label": np.int32, "where": np.bool_, "index": np.int32}


def test_index_and_where_match_the_records():
    for batch in train():
        assert batch["where"].all()
        for i, index in enumerate(batch["index"]):
            assert batch["inputs"]["value"][i] == 100 + index
            assert batch["label"][i] == (3 * index) % 4


def test_each_epoch_drops_only_its_own_remainder():
    epochs = epochs_of(train())
    assert len(epochs) == EPOCHS
    for epoch in epochs:
        assert len(epoch) == len(set(epoch)) == STEPS * BATCH
    # Which two are left over changes, so that no record is lost for good.
    assert len({frozenset(range(10)) - frozenset(epoch) for epoch in epochs}) > 1


def test_epochs_have_their_own_orders():
    epochs = epochs_of(train())
    assert len({tuple(epoch) for epoch in epochs}) == EPOCHS
    assert all(epoch != sorted(epoch) for epoch in epochs)


def test_seed_sets_order_and_augmentation():
    assert_same(train(seed=5), train(seed=5))
    runs = [train(seed=seed) for seed in (5, 6, 7)]
    assert len({tuple(indices(run)) for run in runs}) == 3
    assert len(np.unique([noises(run) for run in runs])) == 3 * EPOCHS * STEPS * BATCH


def test_augmentation_differs_between_examples_and_epochs():
    batches = train()
    assert len(np.unique(indices(batches))) < indices(batches).size  # records come again
    assert len(np.unique(noises(batches))) == indices(batches).size


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_global_batch(count):
    whole = train()
    rows = BATCH // count
    for i in range(count):
        mine = slice(i * rows, (i + 1) * rows)  # the rows of one process follow each other
        part = [
            {
                "inputs": {m: x[mine] for m, x in batch["inputs"].items()},
                **{key: batch[key][mine] for key in ("label", "where", "index")},
            }
            for batch in whole
        ]
        assert_same(train(process=Process(i, count)), part)


# In the first epoch, at the borders of the epochs, in the last epoch, at the end.
@pytest.mark.parametrize("first_step", [1, 2, 3, 4, 5, 6])
def test_later_start_continues_the_unbroken_run(first_step):
    assert_same(train(first_step=first_step), train()[first_step:])


def test_later_start_of_one_of_two_processes():
    process = Process(1, 2)
    assert_same(train(process=process, first_step=3), train(process=process)[3:])


def test_worker_processes_give_the_same_batches():
    readers = Readers(threads=1, workers=1)
    transforms = {**DEFAULTS["transforms"], "id": process_id}
    batches = train(transforms=transforms, readers=readers, first_step=1)
    assert all((batch["inputs"].pop("id") != os.getpid()).all() for batch in batches)
    assert_same(batches, train(first_step=1))


@pytest.mark.parametrize("size", [1, 3, 8, 9, 10])
@pytest.mark.parametrize("count", [1, 2])
def test_evaluation_counts_every_example_once(size, count):
    parts = [evaluate(SOURCE[:size], process=Process(i, count)) for i in range(count)]
    assert {len(part) for part in parts} == {-(-size // BATCH)}  # all take part in every step
    batches = [batch for part in parts for batch in part]
    assert {batch["where"].size for batch in batches} == {BATCH // count}
    counted = [int(i) for batch in batches for i in batch["index"][batch["where"]]]
    assert sorted(counted) == list(range(size))
    for batch in batches:
        real = batch["where"]
        np.testing.assert_array_equal(batch["inputs"]["value"][real], 100 + batch["index"][real])
        np.testing.assert_array_equal(batch["label"][real], 3 * batch["index"][real] % 4)


def test_evaluation_keeps_the_order_and_pads_the_end():
    batches = evaluate(SOURCE)
    assert indices(batches)[:10].tolist() == list(range(10))
    where = [batch["where"].tolist() for batch in batches]
    assert where == [[True] * 4, [True] * 4, [True, True, False, False]]
    second = evaluate(SOURCE, process=Process(1, 2))
    assert indices(second)[:4].tolist() == [2, 3, 6, 7]
    assert second[2]["where"].tolist() == [False, False]


def test_evaluation_is_deterministic():
    batches = evaluate(SOURCE)
    assert not noises(batches).any()  # no generator was given
    assert_same(evaluate(SOURCE), batches)


def test_too_few_examples():
    message = r"at least one batch of 4 training examples, got 3\. Lower training\.batch_size"
    with pytest.raises(ValueError, match=message):
        train(source=SOURCE[:3])


@pytest.mark.parametrize("batches", [train, lambda process: evaluate(SOURCE, process=process)])
def test_batch_that_processes_cannot_share(batches):
    with pytest.raises(ValueError, match=r"that 3 processes can share equally, got 4\."):
        batches(process=Process(0, 3))
