"""`--mode=estimate`: a file of arrays to a table, a picture and a JSON file; wrong arguments."""

import json

import numpy as np
import pytest

from tcmax_jax.commands.estimate import Estimation
from tcmax_jax.training.config.overrides import override
from tcmax_jax.training.config.tree import ConfigError
from tests.command import launch_here

TINY = [
    '--config.estimators=["tcne", "tree_club"]',
    "--config.steps=4",
    "--config.eval_every=2",
    "--config.batch_size=16",
    "--config.num_negatives=32",
    "--config.hidden=[4]",
]


@pytest.fixture
def samples(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 100)
    arrays = {"audio": rng.normal(size=(100, 2, 2)), "visual": rng.normal(size=100), "y": labels}
    path = tmp_path / "some.npz"
    np.savez(path, **arrays)
    return path


def test_estimates_a_file(samples, tmp_path):
    result = launch_here("--mode=estimate", f"--samples={samples}", *TINY, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    title, head, *rows, _, condition, written = result.stdout.splitlines()
    assert title == "total correlation of audio, visual, y in nats, 100 examples"
    assert head.split() == ["estimator", "kind", "estimate", "std.", "error", "ceiling"]
    assert [row.split()[:3] for row in rows] == [
        ["tcne", "lower", "bound"],
        ["tree_club", "upper", "bound"],
    ]
    assert condition.startswith("tree_club: upper bound, for each term: if the fitted q(y | x) equ")
    assert written == "written to runs/estimate-some/results.json and estimates.png"
    folder = tmp_path / "runs" / "estimate-some"
    results = json.loads((folder / "results.json").read_text())
    assert results["variables"] == {"audio": [4], "visual": [1], "y": [3]}
    assert results["labels"] == ["y"]
    assert results["config"]["num_negatives"] == 32
    for row, estimate in zip(rows, results["estimates"], strict=True):
        assert f"{estimate['nats']:.4f}" in row
        assert [r["step"] for r in estimate["running"]] == [0, 2, 4]
    # log(32 + 1): the true tuple is among its own negatives.
    assert results["estimates"][0]["ceiling"] == pytest.approx(np.log(33))
    assert (folder / "estimates.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: Expected --samples=PATH with --mode=estimate, got none"),
        (["--samples=no.npz"], "error: Expected an .npz file of samples, got no.npz"),
        (["--samples=no.npz", "--config.bounds=1"], "Expected a field of the configuration (esti"),
        (
            ["--samples=no.npz", "--experiment=e.py"],
            "Expected no --experiment with --mode=estimate, which does not read it",
        ),
    ],
)
def test_wrong_arguments_end_with_a_message(tmp_path, arguments, message):
    result = launch_here("--mode=estimate", *arguments, cwd=tmp_path)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arrays", "damage", "message"),
    [
        ({}, lambda raw: raw[:300], "error: Expected an .npz file that can be read, got bad.npz"),
        (
            {},
            lambda raw: raw.replace(b"\x93NUMPY", b"\x93NAMPY", 1),
            "error: Expected an undamaged",
        ),
        ({"y": np.array([{}] * 9)}, bytes, "holds Python objects; those are not unpickled"),
        ({"y": np.zeros(8)}, bytes, "error: Expected as many rows in all arrays, got {'x': 9, 'y'"),
        ({"y": np.full(9, np.nan)}, bytes, "error: Expected finite numbers in 'y', got 9 NaN"),
    ],
)
def test_files_that_cannot_be_estimated_from(tmp_path, arrays, damage, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **({"x": np.arange(9.0), "y": np.arange(9.0)} | arrays))
    path.write_bytes(damage(path.read_bytes()))
    result = launch_here("--mode=estimate", "--samples=bad.npz", cwd=tmp_path)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_the_section_refuses_what_cannot_be():
    for path, value, message in [
        ("estimators", '["tcme"]', "estimators.0: Input should be 'tcne', 'tcne_dv', 'line_dv'"),
        ("estimators", "[]", "estimators: .* at least 1 item"),
        ("batch_size", "1", "batch_size: .* greater than or equal to 2, got 1"),
        ("held_out", "1.0", "held_out: .* less than 1, got 1.0"),
    ]:
        with pytest.raises(ConfigError, match=message):
            override(Estimation(), {path: value})
    assert override(Estimation(), {"hidden": "[8]"}) == Estimation(hidden=(8,))
