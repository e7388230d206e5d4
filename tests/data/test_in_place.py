"""Claims about arrays that are read where they lie: one by one, in whole batches, and once."""

import contextlib
import dataclasses
import pickle

import jax
import numpy as np
import pytest
import safetensors.numpy as safetensors

from tcmax_jax.data.clips import RawDataError
from tcmax_jax.data.forms import ArrayForm, Arrays, Features
from tcmax_jax.data.in_place import ArrayRecords, is_in_place, open_in_place
from tcmax_jax.data.inputs import ArrayInput, SeriesInput, SpectrogramInput
from tcmax_jax.data.pipeline import Process, Readers, eval_batches, takes_batches, train_batches
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.data.sources.synthetic import SyntheticData
from tests.made_arrays import ids_of, splits_of, write_list

N = 30
ROWS = {
    name: np.flatnonzero([split == name for split in splits_of(N)])
    for name in ("train", "validation", "test")
}
TRAIN = ROWS["train"]
LABELS = np.arange(N) % 3
WEIGHTS = np.float32(1 + np.arange(N) % 4)
VALUES = {
    "pose": np.random.default_rng(0).normal(size=(N, 5, 2)).astype(np.float16),
    "sound": np.random.default_rng(1).normal(size=(N, 4, 6)),  # becomes float32
    "text": np.random.default_rng(2).integers(0, 1000, (N, 7)),  # becomes int32
}
STORED = {"pose": np.float16, "sound": np.float32, "text": np.int32}
INPUTS = {"pose": SeriesInput(), "sound": SpectrogramInput(), "text": ArrayInput()}


def npy(folder, name, values):
    np.save(folder / f"{name}.npy", values)
    return f"{name}.npy"


def npz_with_ids(folder, name, values):
    order = np.random.default_rng(3).permutation(N)
    ids = np.array(ids_of(N))[order]
    np.savez(folder / f"{name}.npz", ids=ids, features=values[order])
    return f"{name}.npz"


def tensors(folder, name, values):
    safetensors.save_file({"rows": values}, folder / f"{name}.safetensors")
    return f"{name}.safetensors"


def named(folder, name, values):
    np.savez(folder / f"{name}.npz", **dict(zip(ids_of(N), values, strict=True)))
    return f"{name}.npz"


def files(folder, name, values):
    (folder / name).mkdir()
    for each, value in zip(ids_of(N), values, strict=True):
        np.save(folder / name / f"{each}.npy", value)
    return name


def source_of(folder, write=npy, values=VALUES, weighted=True, **options):
    """Writes arrays and their list, and returns the data set."""
    columns = {"weight": WEIGHTS.tolist()} if weighted else {}
    path = write_list(folder / "list.csv", LABELS, split=splits_of(N), **columns)
    stored = {m: Arrays(path=write(folder, m, x)) for m, x in values.items()}
    return ManifestData(manifest=str(path), stored=stored, **options)


def open_source(source):
    return open_in_place(source, source.manifest.replace("list.csv", "data"))


def train_records(folder, write=npy, **options):
    return open_source(source_of(folder, write, **options)).sources["train"]


def assert_same(one, other):
    """Asserts two trees of arrays of the same bits."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, x), y in zip(jax.tree.leaves_with_path(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=str(path), strict=True)


def expected_record(position):
    """Returns what was written of an example of the training split."""
    row = TRAIN[position]
    values = {m: x[row].astype(STORED[m]) for m, x in VALUES.items()}
    return {"label": np.int32(LABELS[row]), "weight": WEIGHTS[row], **values}


def record_of(records, position):
    record = dict(records[position])
    assert record.pop("id") == ids_of(N)[TRAIN[position]]
    return record


@pytest.mark.parametrize("write", [npy, npz_with_ids, tensors])
def test_a_batch_is_the_records_one_by_one(tmp_path, write):
    records = train_records(tmp_path, write)
    assert len(records) == len(TRAIN) and records.has_batches
    positions = np.array([5, 0, 3, 3, len(TRAIN) - 1])
    expected = [expected_record(int(i)) for i in positions]
    assert_same([record_of(records, int(i)) for i in positions], expected)
    batch = records.batch(positions)
    assert_same(batch, jax.tree.map(lambda *rows: np.stack(rows), *expected))
    assert all(type(x) is np.ndarray for x in batch.values())  # no view of the file


@pytest.mark.parametrize("write", [named, files])
def test_arrays_of_single_examples_are_read_one_by_one(tmp_path, write):
    records = train_records(tmp_path, write)
    assert not records.has_batches and not takes_batches(records, INPUTS)
    assert_same([record_of(records, i) for i in (4, 0)], [expected_record(i) for i in (4, 0)])


def test_records_end_where_the_split_does(tmp_path):
    records = train_records(tmp_path)
    assert len(list(records)) == len(TRAIN)
    for index in (-1, len(TRAIN)):
        with pytest.raises(IndexError):
            records[index]


def test_a_list_without_weights_gives_none(tmp_path):
    records = train_records(tmp_path, weighted=False)
    assert "weight" not in records[0] and "weight" not in records.batch(np.array([0]))


@pytest.mark.parametrize("write", [npy, npz_with_ids, tensors])
def test_a_process_gets_the_names_of_files_and_not_the_arrays(tmp_path, write):
    wide = {"pose": np.random.default_rng(0).normal(size=(N, 5000)).astype(np.float32)}
    records = train_records(tmp_path, write, values=wide)
    pickled = pickle.dumps(records)
    assert len(pickled) < 10_000 < wide["pose"].nbytes / 50
    sent = pickle.loads(pickled)
    assert type(sent) is ArrayRecords and sent.has_batches
    assert_same(list(sent), list(records))
    positions = np.arange(len(TRAIN))
    assert_same(sent.batch(positions), records.batch(positions))


class OneByOne:
    """The same records, without whole batches."""

    def __init__(self, records):
        self._records = records

    def __len__(self):
        return len(self._records)

    def __getitem__(self, index):
        return self._records[index]


def batches_of(make, source, forms, *, index=0, count=1, workers=0, **options):
    transforms = {m: to_input.fitted(forms[m]) for m, to_input in INPUTS.items()}
    readers = Readers(threads=2, workers=workers)
    options = {"batch_size": 4, "readers": readers, "process": Process(index, count), **options}
    with contextlib.closing(make(source, transforms, **options)) as batches:
        return list(batches)


def assert_same_batches(make, records, number, **options):
    """Asserts that whole batches are those that are made one by one."""
    transforms = {m: to_input.fitted(records.forms[m]) for m, to_input in INPUTS.items()}
    slow = OneByOne(records)
    assert takes_batches(records, transforms) and not takes_batches(slow, transforms)
    whole = batches_of(make, records, records.forms, **options)
    assert len(whole) == number
    assert_same(whole, batches_of(make, slow, records.forms, **options))
    return whole


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_source(source_of(tmp_path_factory.mktemp("arrays"), npz_with_ids))


@pytest.fixture(scope="module")
def records(dataset):
    return dataset.sources["train"]


SHARES = [{}, {"index": 0, "count": 2}, {"index": 1, "count": 2}]


# The split has 18 examples: four batches an epoch.
@pytest.mark.parametrize("process", SHARES)
@pytest.mark.parametrize("first_step", [0, 1, 4, 7])
def test_whole_batches_train_as_single_records_do(records, process, first_step):
    options = {"epochs": 2, "seed": 5, "first_step": first_step, **process}
    batches = assert_same_batches(train_batches, records, 8 - first_step, **options)
    for batch in batches:
        rows = TRAIN[batch["index"]]
        assert batch["where"].all()
        np.testing.assert_array_equal(batch["inputs"]["text"], VALUES["text"][rows])
        np.testing.assert_array_equal(batch["label"], LABELS[rows])
        np.testing.assert_array_equal(batch["weight"], WEIGHTS[rows])


def test_each_epoch_of_whole_batches_has_its_own_order(records):
    batches = batches_of(train_batches, records, records.forms, epochs=2, seed=5)
    order = np.concatenate([batch["index"] for batch in batches]).reshape(2, 16)
    assert all(len(set(epoch)) == 16 for epoch in order.tolist())
    assert (order[0] != order[1]).any() and (np.diff(order) < 0).any(axis=1).all()


@pytest.mark.parametrize("process", SHARES)
@pytest.mark.parametrize("split", ROWS)
def test_whole_batches_are_padded_as_single_records_are(dataset, split, process):
    records, rows = dataset.sources[split], ROWS[split]
    number = -(-len(rows) // 4)
    batches = assert_same_batches(eval_batches, records, number, **process)
    where = np.concatenate([batch["where"] for batch in batches])
    index = np.concatenate([batch["index"] for batch in batches])
    labels = np.concatenate([batch["label"] for batch in batches])
    np.testing.assert_array_equal(where, index < len(rows))
    np.testing.assert_array_equal(labels, LABELS[rows[np.minimum(index, len(rows) - 1)]])


def test_worker_processes_read_the_same_whole_batches(records):
    options = {"epochs": 2, "seed": 5, "first_step": 6}
    expected = batches_of(train_batches, records, records.forms, **options)
    assert_same(batches_of(train_batches, records, records.forms, workers=1, **options), expected)


def broken(*rows):
    """The values with numbers in some rows that are none."""
    values = {m: x.copy() for m, x in VALUES.items()}
    values["sound"][list(rows), 0, 0] = np.nan
    return values


@pytest.mark.parametrize("write", [npy, npz_with_ids, named])
def test_a_broken_example_is_left_out_where_that_is_allowed(tmp_path, capsys, write):
    lost = TRAIN[2]
    source = source_of(tmp_path, write, broken(lost), allow_skipped=True)
    for _ in range(2):
        dataset = open_source(source)
        records = dataset.sources["train"]
        assert [record["id"] for record in records] == [f"e{i}" for i in TRAIN if i != lost]
        np.testing.assert_array_equal(records[2]["text"], VALUES["text"][TRAIN[3]])
        (skipped,) = dataset.summary["skipped"]
        assert (skipped["id"], skipped["reason"]) == (f"e{lost}", "array not finite")
        assert dataset.summary["splits"]["train"]["used"] == len(TRAIN) - 1
    shown = capsys.readouterr().err
    assert shown.count("skipped: 1 (array not finite)") == 1
    assert f"list.csv, line {lost + 2} (e{lost}): " in shown


def test_whole_batches_pass_over_what_is_left_out(tmp_path):
    source = source_of(tmp_path, npz_with_ids, broken(TRAIN[2]), allow_skipped=True)
    records = open_source(source).sources["train"]
    batches = assert_same_batches(eval_batches, records, 5)
    texts = np.concatenate([batch["inputs"]["text"] for batch in batches])
    np.testing.assert_array_equal(texts[:17], VALUES["text"][np.delete(TRAIN, 2)])


def test_a_broken_example_is_refused_unless_that_is_allowed(tmp_path):
    lost = TRAIN[2]
    message = rf"list\.csv, line {lost + 2} \(e{lost}\): .*finite.* Or: allow_skipped .*leaves such"
    with pytest.raises(RawDataError, match=message):
        open_source(source_of(tmp_path, values=broken(lost)))
    open_source(source_of(tmp_path, values=broken(lost), allow_skipped=True))
    with pytest.raises(RawDataError, match=r"complete data set, got one without 1 clips\. The fir"):
        open_source(source_of(tmp_path, values=broken(lost)))


@pytest.mark.parametrize("split", ROWS)
def test_a_split_of_which_nothing_is_left_is_refused(tmp_path, split):
    values = broken(*ROWS[split])
    message = rf"Expected clips of the split {split} that can be decoded, got none\. .*finite"
    with pytest.raises(RawDataError, match=message):
        open_source(source_of(tmp_path, values=values, allow_skipped=True))


@pytest.fixture
def reads(monkeypatch):
    """Counts the arrays that are read one by one."""
    read, seen = ArrayForm.read, []

    def counted(form, clip):
        seen.append(clip.id)
        return read(form, clip)

    monkeypatch.setattr(ArrayForm, "read", counted)
    return seen


@pytest.mark.parametrize("write", [npy, npz_with_ids, named, files])
def test_arrays_are_looked_at_once(tmp_path, reads, write, capsys):
    source = source_of(tmp_path, write)
    first = open_source(source)
    assert sorted(reads) == sorted(3 * ids_of(N))
    assert (first.folder / "checked.json").is_file()
    assert "reading the arrays of 30 examples" in capsys.readouterr().err
    reads.clear()
    second = open_source(source)
    assert not reads and not capsys.readouterr().err
    for field in ("name", "class_names", "summary", "forms", "folder"):
        assert getattr(first, field) == getattr(second, field)
    assert first.sources["train"].forms == second.sources["train"].forms
    assert_same(list(first.sources["test"]), list(second.sources["test"]))
    assert first.forms["text"] == {"shape": [7], "dtype": "int32", "varying": False}


def test_other_arrays_are_looked_at_anew(tmp_path, reads):
    before = open_source(source_of(tmp_path))
    reads.clear()
    after = open_source(source_of(tmp_path, values={**VALUES, "sound": -VALUES["sound"]}))
    assert len(reads) == 3 * N and after.folder != before.folder
    expected = -VALUES["sound"][TRAIN[0]].astype(np.float32)
    np.testing.assert_array_equal(after.sources["train"][0]["sound"], expected)


def test_arrays_alone_are_in_place_unless_it_is_said_otherwise(tmp_path):
    source = source_of(tmp_path)
    found = {x: is_in_place(dataclasses.replace(source, in_place=x)) for x in (None, True, False)}
    assert found == {None: True, True: True, False: False}
    mixed = {**source.stored, "image": Features(path="image.npy", size=2)}
    assert not is_in_place(dataclasses.replace(source, stored=mixed))
    assert not is_in_place(SyntheticData())
