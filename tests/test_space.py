"""Disks and shared memory that are too small are named before the work, full ones in a line."""

import dataclasses
import errno
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from tcmax_jax import space
from tcmax_jax.data.forms import Features
from tcmax_jax.data.preparation.prepare import prepare
from tcmax_jax.data.sources.manifest import ManifestData
from tcmax_jax.files import write_atomically
from tcmax_jax.training import loop
from tcmax_jax.training.checkpoint import Checkpoints, check_room
from tcmax_jax.training.checkpoint_reader import CheckpointError, CheckpointReader
from tests.command import launch_here
from tests.training.test_checkpoint import save, state_at
from tests.training.tiny import tiny_config


@pytest.fixture
def free(monkeypatch):
    """Lets so many bytes be free on all disks."""
    return lambda number: monkeypatch.setattr(
        shutil, "disk_usage", lambda path: SimpleNamespace(free=number)
    )


def test_room_for_all_checkpoints_that_will_be(tmp_path, free):
    folder = tmp_path / "checkpoints"
    state = state_at(0)._replace(batch_stats={"mean": np.zeros(250_000)})  # 2 MB
    free(8_100_000)
    check_room(folder, state)
    free(7_900_000)
    message = r"room for 4 checkpoints in .*, got 7\.9 MB of free space where 8\.0 MB are needed\."
    with pytest.raises(CheckpointError, match=message):
        check_room(folder, state)
    save(folder, {2: 0.9, 4: 0.1, 6: 0.5})
    free(2_100_000)
    check_room(folder, state)
    free(1_900_000)
    with pytest.raises(CheckpointError, match="room for 1 checkpoints in"):
        check_room(folder, state)


def test_a_disk_that_is_full_later_ends_with_a_line(tmp_path, free, capfd):
    folder = tmp_path / "checkpoints"
    save(folder, {2: 0.9})
    free(10)
    message = r"write a checkpoint into .*, got: 0\.0 MB of free space where .*Earlier checkpoints"
    with pytest.raises(CheckpointError, match=message), Checkpoints(folder) as checkpoints:
        checkpoints.save(state_at(4), {"accuracy": 0.5})
    assert CheckpointReader(folder).steps == [2]
    assert "Traceback" not in capfd.readouterr().err


def test_training_looks_before_its_folder_is_claimed(tmp_path, free):
    free(10)
    with pytest.raises(CheckpointError, match="Expected room for 4 checkpoints"):
        loop.train(tiny_config(), tmp_path / "run", str(tmp_path / "data"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]


def test_small_shared_memory(tmp_path, free):
    free(10)
    config = tiny_config(training__workers=2)
    message = r"shared memory in /dev/shm for training\.workers=2, got .*docker run --shm-size"
    with pytest.raises(OSError, match=message):
        loop.train(config, tmp_path / "run", str(tmp_path / "data"))
    assert not (tmp_path / "run").exists()


def test_a_small_disk_for_clips(tmp_path, free):
    np.savez(tmp_path / "a.npz", features=np.zeros((3, 5)), ids=np.array(["a", "b", "c"]))
    rows = ["a,train,x", "b,train,y", "c,validation,x"]
    (tmp_path / "list.csv").write_text("\n".join(["id,split,label", *rows]))
    stored = {"a": Features(path=str(tmp_path / "a.npz"), size=5)}
    source = ManifestData(manifest=str(tmp_path / "list.csv"), stored=stored, in_place=False)
    free(59)
    with pytest.raises(OSError, match=r"room for 3 decoded clips in .*--data_dir"):
        prepare(source, tmp_path / "data")
    free(60)
    assert prepare(dataclasses.replace(source), tmp_path / "data").info.splits["train"]


def test_a_full_disk_in_preparation(tmp_path, monkeypatch):
    def full(*_, **__):
        raise RuntimeError('Failed to finalize "train": write() failed: No space left on device')

    monkeypatch.setattr("tensorflow_datasets.core.DatasetBuilder.download_and_prepare", full)
    result = launch_here("--mode=prepare", f"--data_dir={tmp_path}", cwd=tmp_path)
    assert result.returncode == 1
    assert "error: Expected to write prepared data into" in result.stderr
    assert "got a full disk. Free some, or choose another --data_dir." in result.stderr


def test_errors_of_the_system_name_the_file(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.txt'") as error:
        write_atomically(tmp_path / "a.txt", "text")
    assert space.is_full(error.value)
