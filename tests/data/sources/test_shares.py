"""Ways in which the label is told: what was drawn is as told, and informs as the sums say."""

import numpy as np
import pytest

from tcmax_jax.data.sources.shares import Shares
from tcmax_jax.data.sources.synthetic import SyntheticData, generate
from tcmax_jax.section import SectionError

CASES = [
    Shares(), Shares(1.0), Shares(0.0, 1.0), Shares(0.0, 0.0, 1.0), Shares(0.2, 0.1, 0.3),
    Shares(0.5, 0.5),
]  # fmt: skip


def brute(shares, c):
    """p(y, a, v) by counting all ways to draw an example."""
    p = np.zeros((c, c, c))
    for y in range(c):
        for free in range(c):
            p[y, y, y] += shares.redundancy / c**2
            p[y, y, free] += shares.unique_a / c**2
            p[y, free, y] += shares.unique_v / c**2
            p[y, free, (free + y) % c] += shares.synergy / c**2
    return p


def mutual(p):
    """I of the two axes of a table, in nats."""
    outer = p.sum(axis=1, keepdims=True) * p.sum(axis=0, keepdims=True)
    return sum(x * np.log(x / o) for x, o in zip(p.ravel(), outer.ravel(), strict=True) if x > 0)


@pytest.mark.parametrize("c", [2, 3, 4])
@pytest.mark.parametrize("shares", CASES)
def test_information_is_that_of_the_table(shares, c):
    p = brute(shares, c)
    np.testing.assert_allclose(shares.joint(c), p, atol=1e-15)
    expected = {
        "I(y; a)": mutual(p.sum(axis=2)),
        "I(y; v)": mutual(p.sum(axis=1)),
        "I(a; v)": mutual(p.sum(axis=0)),
        "I(y; a, v)": mutual(p.reshape(c, -1)),
        "I(a; v | y)": sum(mutual(each / each.sum()) for each in p) / c,
        "accuracy of a": sum(p[:, a].sum(axis=1).max() for a in range(c)),
        "accuracy of v": sum(p[:, :, v].sum(axis=1).max() for v in range(c)),
        "accuracy of both": sum(p[:, a, v].max() for a in range(c) for v in range(c)),
    }
    assert shares.information(c) == pytest.approx(expected, abs=1e-12)


def test_of_one_kind_alone():
    log3 = np.log(3)
    told = {case: case.information(3) for case in CASES[:4]}
    names = ("I(y; a)", "I(y; v)", "I(a; v)", "I(y; a, v)", "I(a; v | y)")
    rows = [[told[case][name] / log3 for name in names] for case in CASES[:4]]
    expected = [[1, 1, 1, 1, 0], [1, 0, 0, 1, 0], [0, 1, 0, 1, 0], [0, 0, 0, 1, 1]]
    np.testing.assert_allclose(rows, expected, atol=1e-12)


@pytest.mark.parametrize("shares", CASES)
def test_draws_follow_the_table(shares):
    labels = np.arange(40_000) % 3
    a, v = shares.draw(labels, 3, np.random.default_rng(0))
    counts = np.zeros((3, 3, 3))
    np.add.at(counts, (labels, a, v), 1 / len(labels))
    np.testing.assert_allclose(counts, shares.joint(3), atol=0.01)


def test_examples_show_the_variables():
    knobs = {
        "seed": 0, "num_classes": 3, "audio_signal": 1.0, "audio_noise": 0.0, "visual_signal": 1.0,
        "visual_noise": 0.0, "correlation": 0.0, "audio_shape": (8, 8), "visual_shape": (1, 8, 8),
    }  # fmt: skip
    shares = Shares(0.2, 0.2, 0.4)
    plain, mixed = generate(300, **knobs), generate(300, **knobs, shares=shares)
    np.testing.assert_array_equal(plain["label"], mixed["label"])
    # Each class has its pattern: which one an example has is which class it is like.
    shown = {}
    for name in ("audio", "visual"):
        typical = [plain[name][plain["label"] == y][0].astype(float) for y in range(3)]
        typical = [x - x.mean() for x in typical]
        likeness = [
            [abs((x - x.mean()).ravel() @ t.ravel()) for t in typical]
            for x in mixed[name].astype(float)
        ]
        shown[name] = np.argmax(likeness, axis=1)
    a, v = shares.draw(mixed["label"], 3, np.random.default_rng([0, 1]))
    np.testing.assert_array_equal(shown["audio"], a)
    np.testing.assert_array_equal(shown["visual"], v)


def test_shares_are_at_most_all():
    assert SyntheticData(unique_audio=0.3, synergy=0.7).shares.redundancy == pytest.approx(0)
    with pytest.raises(SectionError, match=r"of at most 1 in all, got 1\.1"):
        SyntheticData(unique_audio=0.3, unique_visual=0.1, synergy=0.7)


def test_without_shares_the_set_has_its_old_name():
    assert SyntheticData(synergy=0.1).content_name() != SyntheticData().content_name()
    assert "synergy" not in SyntheticData()._content()
