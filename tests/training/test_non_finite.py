"""An example that is not finite has no part in an evaluation, whoever looks at it."""

import shutil

import jax
import numpy as np
import pytest

from tcmax_jax.data.datasets import open_dataset
from tcmax_jax.data.inputs import SpectrogramInput
from tcmax_jax.evaluation.finite import NonFiniteError
from tcmax_jax.training import loop
from tcmax_jax.training.build import prepare_data
from tests.training.tiny import tiny_config

# Read one by one: whole batches take no call for an example.
CONFIG = tiny_config(training__epochs=1, training__held_mib=0)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    loop.train(CONFIG, folder, data_dir, jax.devices()[:1])
    return folder


@pytest.fixture
def spoil(data_dir, monkeypatch):
    """Returns a function that makes the sound of an example infinite in evaluations."""
    sources = open_dataset(prepare_data(CONFIG, data_dir), ("audio",)).sources

    def spoil(split, row):
        chosen, original = sources[split][row]["audio"], SpectrogramInput.__call__

        def spoilt(self, stored, seed):
            x = original(self, stored, seed)
            is_it = seed is None and np.array_equal(stored, chosen)
            return np.full_like(x, -np.inf) if is_it else x

        monkeypatch.setattr(SpectrogramInput, "__call__", spoilt)

    return spoil


@pytest.mark.parametrize(
    ("split", "row"), [("validation", 4), ("test", 29), ("train", 60)]  # which the probes fit
)  # fmt: skip
def test_an_evaluation_names_split_modality_and_example(run, data_dir, tmp_path, spoil, split, row):
    folder = shutil.copytree(run, tmp_path / "run")
    before = (folder / "results.json").read_bytes()
    spoil(split, row)
    message = (
        rf"^Expected finite features of audio, got nan for {split} example {row}( \(\S+\))?, whose "
        r"audio holds NaN or infinity\. Fix or drop it in synthetic\S* and prepare the data again"
    )
    with pytest.raises(NonFiniteError, match=message):
        loop.evaluate(folder, data_dir, jax.devices()[:1])
    assert (folder / "results.json").read_bytes() == before


def test_the_validation_of_a_training_says_where_it_stands_too(data_dir, tmp_path, spoil):
    spoil("validation", 4)
    message = r"validation example 4.* That is the validation at step 4 \(epoch 1\)\. Last .*: none"
    with pytest.raises(NonFiniteError, match=message):
        loop.train(CONFIG, tmp_path / "run", data_dir, jax.devices()[:1])


def test_parameters_that_have_diverged_are_told_from_broken_data(
    run, data_dir, tmp_path, monkeypatch
):
    restored = loop._restored

    def diverged(*arguments):
        step, state, finished = restored(*arguments)
        return (
            step,
            state._replace(params=jax.tree.map(lambda x: x * np.inf, state.params)),
            finished,
        )

    monkeypatch.setattr(loop, "_restored", diverged)
    message = r"got nan for validation example 0.*, whose inputs are finite: lower optimizer\.learn"
    with pytest.raises(NonFiniteError, match=message):
        loop.evaluate(run, data_dir, jax.devices()[:1])
