"""Claims about splits that are held in memory: the same values, decoded once, within the limit."""

from collections import Counter

import jax
import numpy as np
import pytest

from tcmax_jax.data.datasets import Dataset
from tcmax_jax.data.forms import Flow, Frames, LogSpectrogram
from tcmax_jax.data.inputs import FlowInput, FramesInput, SpectrogramInput
from tcmax_jax.data.pictures import encode_flow, encode_image
from tcmax_jax.data.pipeline import Process, Readers, eval_batches, train_batches
from tcmax_jax.data.record_cache import CachedRecords
from tcmax_jax.training.build import cached
from tests.training.tiny import tiny_config

NUMBER, MUCH = 10, 1 << 20
FORMS = {
    "sound": LogSpectrogram(rate=8, seconds=1.0, n_fft=6, hop=1),  # [4, 9]
    "frames": Frames(count=2),
    "flow": Flow(count=1),
}
WHOLE = {"sound": SpectrogramInput(), "frames": FramesInput(size=None)}
CUT = {
    "sound": SpectrogramInput(steps=5),
    "frames": FramesInput(size=4),
    "flow": FlowInput(size=4),
}


@pytest.fixture(autouse=True)
def _several_threads_decode(monkeypatch):
    """As on machines of several cores, on any machine."""
    monkeypatch.setattr("tcmax_jax.data.record_cache.usable_cores", lambda: 3)


class Source:
    """Records that count how often each is read."""

    def __init__(self, sizes=(6,)):
        rng, self.reads, self.records = np.random.default_rng(0), Counter(), []
        for number in range(NUMBER):
            size = sizes[number % len(sizes)]
            pictures = rng.integers(256, size=(2, size, 8, 3), dtype=np.uint8)
            self.records.append(
                {
                    "id": f"clip{number}".encode(),
                    "label": number % 3,
                    "weight": np.float32(1 + number),
                    "unused": np.zeros(1000),
                    "sound": rng.normal(size=(4, 9)).astype(np.float16),
                    "frames": [encode_image(x, lossless=True) for x in pictures],
                    "flow": [encode_flow(rng.normal(size=(6, 6, 2)), 2.0)],
                }
            )

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        self.reads[index] += 1
        return self.records[index]


def held(inputs, limit=MUCH, **options):
    source = Source(**options)
    return source, CachedRecords(source, inputs, FORMS, limit)


def batches(source, inputs):
    options = {"batch_size": 4, "readers": Readers(2, 0), "process": Process()}
    training = train_batches(source, inputs, epochs=3, seed=1, **options)
    return [*training, *eval_batches(source, inputs, **options)]


@pytest.mark.parametrize("sizes", [(6,), (6, 7)], ids=["one-size", "two-sizes"])
@pytest.mark.parametrize("inputs", [WHOLE, CUT], ids=["whole", "cut"])
def test_batches_are_those_of_the_source(inputs, sizes):
    if inputs is WHOLE and len(sizes) > 1:
        inputs = {"sound": WHOLE["sound"]}  # pictures of several sizes make no batch
    source, records = held(inputs, sizes=sizes)
    got, expected = batches(records, inputs), batches(Source(sizes), inputs)
    assert len(got) == len(expected) == 3 * 2 + 3
    for one, other in zip(got, expected, strict=True):
        assert {"inputs", "label", "where", "index", "weight"} == one.keys() == other.keys()
        jax.tree.map(np.testing.assert_array_equal, one, other)
        assert jax.tree.map(lambda x: x.dtype, one) == jax.tree.map(lambda x: x.dtype, other)
    # All ten were looked at for their size, and read for good once.
    assert set(source.reads.values()) == {2}


def test_a_record_keeps_its_name():
    source, records = held(WHOLE)
    assert records[3] is source.records[3]  # before anything is held
    assert records.has_batches
    assert records[3]["id"] == b"clip3" and records[3]["label"] == 0
    assert records[3]["frames"].shape == (2, 6, 8, 3)
    assert "unused" not in records[3] and "unused" not in records.batch(np.array([1]))
    with pytest.raises(IndexError):
        records[NUMBER]


def test_only_records_that_are_always_the_same_are_held():
    fixed, augmenting = Source(), Source()
    fixed.always_the_same = True
    dataset = Dataset("", [], {}, {"train": fixed, "validation": augmenting})
    config = tiny_config()
    sources = cached(dataset, config).sources
    assert isinstance(sources["train"], CachedRecords) and sources["validation"] is augmenting
    config = tiny_config(training__held_mib=0)
    assert cached(dataset, config).sources["train"] is fixed


def test_what_is_larger_than_the_limit_is_not_held():
    # An example takes 4 x 9 float16 and 2 x 6 x 8 x 3 bytes decoded.
    size = NUMBER * (4 * 9 * 2 + 2 * 6 * 8 * 3)
    assert held(WHOLE, size)[1].hold()
    source, records = held(WHOLE, size - 1)
    assert not records.hold() and not records.has_batches
    assert records[0] is source.records[0]
    jax.tree.map(np.testing.assert_array_equal, batches(records, WHOLE), batches(Source(), WHOLE))
