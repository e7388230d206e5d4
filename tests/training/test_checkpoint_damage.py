"""Damaged checkpoints are found, put aside, and the one before is taken; nothing else is lost."""

import contextlib
import gc
import resource
import shutil

import jax
import numpy as np
import pytest

from tcmax_jax.training.checkpoint import Checkpoints
from tcmax_jax.training.checkpoint_reader import CheckpointError, CheckpointReader
from tests.harms import HARMS, delete, truncate
from tests.training.test_checkpoint import save, state_at

ACCURACIES = {2: 0.9, 4: 0.1, 6: 0.5}


def files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


def delete_digests(folder):
    for path in folder.glob("*/digests.json"):
        path.unlink()


# A read or write of Orbax that fails leaves its others behind, which complain when they end.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _what_is_left_behind_ends_here():
    yield
    gc.collect(1)  # all that is new; a whole collection takes half a second


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template") / "checkpoints"
    save(folder, ACCURACIES)
    return folder


@pytest.fixture
def folder(template, tmp_path):
    return shutil.copytree(template, tmp_path / "checkpoints")


def restore_latest(folder):
    said = []
    with Checkpoints(folder, say=said.append) as checkpoints:
        state = checkpoints.restore_latest(state_at(0))
        return state, said, checkpoints.latest


def assert_is(state, step):
    jax.tree.map(np.testing.assert_array_equal, state, state_at(step))


@pytest.mark.parametrize(
    ("harm", "known"), [*((harm, True) for harm in HARMS.values()), (truncate, False)]
)
def test_whatever_file_is_harmed_no_wrong_state_is_restored(template, tmp_path, harm, known):
    taken = []
    for number, path in enumerate(files(template / "6")):
        folder = shutil.copytree(template, tmp_path / str(number) / "checkpoints")
        harm(folder / path.relative_to(template))
        if not known:  # as earlier versions wrote them
            delete_digests(folder)
        state, said, latest = restore_latest(folder)
        step = int(state.step)
        assert_is(state, step)
        assert step == latest
        taken.append(step)
        if step == 4:
            assert len(said) == 1
            assert f"the checkpoint {folder / '6'} is damaged (" in said[0]
            assert said[0].endswith(
                ("Resuming after step 4 instead.", "Moved to damaged-checkpoints.")
            )
            assert (tmp_path / str(number) / "damaged-checkpoints" / "6-0").is_dir()
        else:
            assert step == 6  # a file that Orbax does not need
            assert said == []
    assert 4 in taken


@pytest.mark.parametrize("name", ["about/metadata", "metrics/metrics"])
def test_any_bit_of_what_it_says_of_itself(template, tmp_path, name):
    data = (template / "6" / name).read_bytes()
    rng = np.random.default_rng(0)
    for number in range(20):
        folder = shutil.copytree(template, tmp_path / str(number) / "checkpoints")
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
        (folder / "6" / name).write_bytes(bytes(changed))
        state, said, _ = restore_latest(folder)
        assert_is(state, 4)
        assert len(said) == 1


@pytest.mark.parametrize(("step", "known"), [(2, True), (4, False)])
@pytest.mark.parametrize("harm", [delete, lambda path: path.write_text('{"accuracy": 0.95}')])
@pytest.mark.parametrize("name", ["about/metadata", "metrics/metrics"])
def test_where_the_best_is_not_known_none_is_chosen(folder, step, known, harm, name):
    harm(folder / str(step) / name)
    if not known:
        delete_digests(folder)
    before = files(folder)
    what = rf"{name}: .*" if known else "its metrics"
    message = rf"best of all checkpoints, got one .*/{step} is damaged \({what}\)\. Restore"
    with pytest.raises(CheckpointError, match=message):
        restore_latest(folder)
    with pytest.raises(CheckpointError, match=message):
        _ = CheckpointReader(folder).best
    assert CheckpointReader(folder).steps == [2, 4, 6]
    assert files(folder) == before
    shutil.rmtree(folder / str(step))  # as the message says
    assert CheckpointReader(folder).best == {2: 6, 4: 2}[step]


def test_where_the_only_ones_are_damaged_training_does_not_begin_anew(folder):
    for step in (4, 6):
        shutil.rmtree(folder / str(step))
    truncate(folder / "2" / "about" / "metadata")
    with pytest.raises(CheckpointError, match=r"checkpoints/2 is damaged \(about/metadata"):
        restore_latest(folder)


def test_a_kill_while_an_old_one_is_removed_is_no_damage(folder, monkeypatch):
    # Renamed, but not removed.
    monkeypatch.setattr(Checkpoints, "_remove_superseded", lambda self: None)
    save(folder, {8: 0.6})
    left = folder / "superseded" / "4"
    assert left.is_dir() and CheckpointReader(folder).steps == [2, 6, 8]
    delete(left / "about" / "metadata")
    monkeypatch.undo()
    _, said, latest = restore_latest(folder)
    assert (said, latest, left.exists()) == ([], 8, False)


def test_looking_moves_nothing_and_remains_of_writes_are_no_checkpoints(folder):
    (folder / "8.orbax-checkpoint-tmp" / "metrics").mkdir(parents=True)
    (folder / "8.orbax-checkpoint-tmp" / "metrics" / "metrics").write_text("")
    before = files(folder)
    kept = CheckpointReader(folder)
    assert (kept.best, kept.latest) == (2, 6)
    assert_is(kept.restore(2, state_at(0)), 2)
    truncate(folder / "6" / "about" / "metadata")
    assert_is(kept.restore(2, state_at(0)), 2)
    assert files(folder) == before
    assert restore_latest(folder)[2] == 4


def test_a_folder_without_files_is_damage(folder):
    shutil.rmtree(folder / "6" / "state")
    state, _, _ = restore_latest(folder)
    assert_is(state, 4)
    # Training comes to step 6 again, and that checkpoint is good.
    save(folder, {6: 0.6})
    assert_is(restore_latest(folder)[0], 6)
    assert {p.name for p in folder.iterdir() if p.name.isdigit()} == {"2", "4", "6"}


def test_a_wrong_number_is_found_by_its_checksum(folder, monkeypatch):
    original = Checkpoints._read

    def read(self, step, target):
        state = original(self, step, target)
        if step == 6:
            state.params["dense"]["kernel"][1, 1] += 1e-6
        return state

    monkeypatch.setattr(Checkpoints, "_read", read)
    state, said, _ = restore_latest(folder)
    assert_is(state, 4)
    assert "damaged (another checksum of params/dense/kernel)" in said[0]


def test_where_all_are_damaged_nothing_is_moved(folder):
    for step in ACCURACIES:
        truncate(folder / str(step) / "state" / "_METADATA")
    before = files(folder)
    with pytest.raises(CheckpointError, match=r"(?s)got none: .*6 is dam.*2 is dam.*train again"):
        restore_latest(folder)
    assert files(folder) == before


def test_the_best_one_is_not_replaced_silently(folder):
    truncate(folder / "2" / "state" / "_METADATA")
    message = r"checkpoints/2 is damaged"
    with Checkpoints(folder) as checkpoints, pytest.raises(CheckpointError, match=message):
        checkpoints.restore(checkpoints.best, state_at(0))


def test_the_state_of_another_model_is_refused_with_a_diff(folder):
    other = state_at(0)._replace(
        params={"dense": {"kernel": np.zeros((3, 5), np.float32), "bias": np.zeros(5, np.float32)}},
        method_state=(),
    )
    with Checkpoints(folder) as checkpoints, pytest.raises(CheckpointError) as caught:
        checkpoints.restore_latest(other)
    assert str(caught.value).splitlines()[:4] == [
        f"{folder / '6'} holds the state of another model, optimiser or method:",
        "  method_state/scores: float32[3] there, nothing here",
        "  params/dense/bias: nothing there, float32[5] here",
        "  params/dense/kernel: float32[3, 2] there, float32[3, 5] here",
    ]
    assert "Choose another --workdir" in str(caught.value)
    assert (folder / "6").is_dir()  # it is not damaged


@contextlib.contextmanager
def no_space_for_files_of(size):
    """Lets writes beyond a size fail, with another error number than a full disk has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def large_state(step):
    noise = np.random.default_rng(0).normal(size=(200, 200))
    return state_at(step)._replace(batch_stats={"mean": noise})


def test_a_write_that_fails_leaves_the_earlier_ones(folder):
    message = r"write a checkpoint into .*, got: .*too large.*as they were: free space or fix"
    with (
        pytest.raises(CheckpointError, match=message),
        Checkpoints(folder) as checkpoints,
        no_space_for_files_of(20_000),
    ):
        checkpoints.save(large_state(8), {"accuracy": 0.7})
        checkpoints.wait()
    state, said, latest = restore_latest(folder)
    assert (latest, said) == (6, [])
    assert_is(state, 6)
    with Checkpoints(folder) as checkpoints:  # once there is space again
        checkpoints.save(large_state(8), {"accuracy": 0.7})
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.latest == 8
