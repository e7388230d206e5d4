"""Checkpoints: the latest and the best are kept, whole, and come back bit for bit."""

import shutil
import time

import jax
import numpy as np
import pytest

from tcmax_jax.training.checkpoint import Checkpoints
from tcmax_jax.training.state import TrainState


def state_at(step):
    rng = np.random.default_rng(step)
    return TrainState(
        step=np.asarray(step, np.int32),
        params={"dense": {"kernel": rng.normal(size=(3, 2)).astype(np.float32)}},
        batch_stats={},
        opt_state=(rng.normal(size=4).astype(np.float32), np.asarray(step, np.int32)),
        method_state={"scores": rng.normal(size=3).astype(np.float32)},
    )


def save(folder, accuracies):
    with Checkpoints(folder) as checkpoints:
        for step, accuracy in accuracies.items():
            metrics = None if accuracy is None else {"accuracy": accuracy, "tc_bound": 1.0}
            checkpoints.save(state_at(step), metrics)


@pytest.mark.parametrize(
    ("accuracies", "kept", "best"),
    [
        ({2: 0.9, 4: 0.1, 6: 0.5, 8: 0.5}, {2, 6, 8}, 2),
        ({2: 0.1, 4: 0.2, 6: 0.3, 8: 0.9}, {6, 8}, 8),
        ({2: 0.9, 4: None, 6: 0.3, 8: None}, {2, 6, 8}, 2),
        ({2: None, 4: None, 6: None, 8: None}, {6, 8}, None),
    ],
)
def test_latest_and_best_are_kept(tmp_path, accuracies, kept, best):
    save(tmp_path / "checkpoints", accuracies)
    assert {int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()} == kept
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert (checkpoints.latest, checkpoints.best) == (8, best)


def test_restored_state_is_bit_equal(tmp_path):
    save(tmp_path / "checkpoints", {5: 0.5})
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        restored = checkpoints.restore(5, like=state_at(0))
    expected = state_at(5)
    assert jax.tree.structure(restored) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, restored, expected)


def test_variables_are_restored_without_knowing_the_rest_of_the_state(tmp_path):
    save(tmp_path / "checkpoints", {5: 0.5})
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        variables = checkpoints.restore_variables(5)
    expected = state_at(5)
    assert variables.keys() == {"params", "batch_stats"}
    assert variables["batch_stats"] == expected.batch_stats
    jax.tree.map(np.testing.assert_array_equal, variables["params"], expected.params)


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest is None
        assert checkpoints.best is None


def test_an_interrupted_write_is_removed_and_never_restored(tmp_path):
    save(tmp_path / "checkpoints", {5: 0.5})
    partial = tmp_path / "checkpoints" / "7.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "checkpoints" / "5", partial)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest == 5
        deadline = time.monotonic() + 30
        while partial.exists():  # it is removed in the background
            assert time.monotonic() < deadline
            time.sleep(0.01)
