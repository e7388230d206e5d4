"""The table of quantities: keys in files, names for people, digits, directions and chance."""

import math

import pytest

from tcmax_jax.evaluation.quantities import (
    ANALYSES,
    QUANTITIES,
    Condition,
    Name,
    mean,
    number,
    ordered,
    quantity,
    read_name,
    title,
    under,
    without,
    write_name,
)

HARD = [
    (without(["visual", "audio"]), "without/audio+visual",
     "fused accuracy without audio and visual (split, %)"),
    (without(["lips"]), "without/lips", "fused accuracy without lips (split, %)"),
    (Condition(noisy="a=b", strength=0.5), "noise/a=b=0.5",
     "fused accuracy with noise on a=b (0.5 std) (%)"),
    (Condition(noisy="audio", strength=1e-5), "noise/audio=1e-05",
     "fused accuracy with noise on audio (1e-05 std) (%)"),
    (Condition(noisy="audio", strength=2.0), "noise/audio=2",
     "fused accuracy with noise on audio (2 std) (%)"),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "key", "text"), HARD)
def test_a_condition_comes_back_from_its_key(condition, key, text):
    assert write_name(under(condition)) == key
    assert read_name(key) == under(condition)
    assert title(under(condition)) == text


@pytest.mark.parametrize(
    "key",
    [
        "accuracy", "probe/audio", "cka/audio+visual", "chain/I(y;audio)", "f1/a/b", "noise/x",
        "marginal/accuracy/audio", "marginal/without/a+b", "marginal/js_divergence",
        "accuracy/marginal", "marginal",
    ],
)  # fmt: skip
def test_other_keys_come_back_too(key):
    assert write_name(read_name(key)) == key


def test_one_name_for_one_quantity():
    keys = ("accuracy", "accuracy/audio", "probe/audio", "cross_entropy", "tc_bound", "cka/a+b")
    assert [title(read_name(key)) for key in keys] == [
        "fused accuracy (%)", "accuracy of audio (split, %)", "accuracy of audio (probe) (%)",
        "cross-entropy (nats)", "TC bound (nats)", "linear CKA, a and b",
    ]  # fmt: skip
    titles = [own.title for own in QUANTITIES]
    shorts = [own.short or own.title for own in QUANTITIES]
    assert (
        len(set(titles)) == len(set(shorts)) == len({own.key for own in QUANTITIES}) == len(titles)
    )


def test_marginal_and_split_are_two_names_of_one_quantity():
    split, marginal = read_name("without/b+a"), read_name("marginal/without/b+a")
    assert marginal == under(without(["a", "b"]), by="marginal") == split._replace(by="marginal")
    assert quantity(marginal) is quantity(split)
    assert title(marginal) == "fused accuracy without a and b (marginal, %)"
    assert title(Name("accuracy", "a", "marginal"), short=True) == "a (marginal, %)"
    assert title(Name("js_divergence")) == "JS divergence (split, nats)"
    # What is of the fused prediction or of no prediction has no such note.
    plain = map(read_name, ["entropy/fused", "calibration_error/recalibrated", "cka/a+b"])
    assert not [t for t in map(title, plain) if "split" in t or "marginal" in t]


def test_split_numbers_stand_beside_the_marginal_ones_in_tables_and_else_in_place_of_them():
    keys = ["accuracy/b", "accuracy/a", "marginal/accuracy/a", "js_divergence", "accuracy"]
    names = list(map(read_name, keys))
    there = lambda shown: list(map(write_name, ordered(names, shown)))
    beside = ["accuracy", "marginal/accuracy/a", "accuracy/b", "accuracy/a"]
    assert there("comparison") == beside
    for place in ("epoch", "curves", "study"):
        assert there(place) == beside[:-1]
    assert there("modalities") == there("agreement") == ["js_divergence"]


def test_what_stands_for_one_of_several_says_so():
    for own in QUANTITIES:
        assert own.key.endswith("/") == ("{}" in own.title) == ("{}" in (own.short or own.title))


def test_everything_is_shown_somewhere_that_exists():
    places = {"comparison", "study", "epoch", "curves", *ANALYSES}
    figures = {"modalities", "missing", "entropy", "calibration"}
    for own in QUANTITIES:
        assert own.shown
        assert set(own.shown) <= places | figures, own.key


@pytest.mark.parametrize("key", ["f1", "f1/lips", "entropy"])
def test_a_key_that_the_table_does_not_know_is_its_own_name(key):
    own = quantity(read_name(key))
    assert own not in QUANTITIES
    assert title(read_name(key)) == title(read_name(key), short=True) == key
    assert number(read_name(key), 2.0, 0.5) == "2.0000 ±0.5000"
    assert (own.better, own.chance) == (None, None)
    assert {"comparison", "study"} <= set(own.shown)


@pytest.mark.parametrize(
    ("key", "better", "chance"),
    [
        ("accuracy", "higher", 0.125),
        ("without/audio", "higher", 0.125),
        ("cross_entropy/audio", "lower", math.log(8)),
        ("tc_bound", "higher", 0),
    ],
)
def test_directions_and_chance(key, better, chance):
    own = quantity(read_name(key))
    assert own.better == better
    assert own.chance(8) == pytest.approx(chance)


def test_neither_direction_of_what_is_neither_good_nor_bad():
    for key in ("js_divergence", "entropy/fused", "cka/a+b", "loss", "weight/a"):
        assert quantity(read_name(key)).better is None
    assert quantity(Name("calibration_error", "fused")).better == "lower"


def test_the_order_is_that_of_the_table_and_unknown_ones_come_last():
    keys = ["f1", "tc_bound", "probe/b", "accuracy/b", "accuracy/a", "accuracy", "f1", "tc_bound"]
    names = list(map(read_name, keys))
    found = ["accuracy", "accuracy/b", "accuracy/a", "probe/b", "tc_bound", "f1"]
    assert list(map(write_name, ordered(names))) == found
    entropies = [Name("entropy", "audio"), Name("entropy", "fused")]
    assert ordered(entropies) == entropies[::-1]
    assert list(map(write_name, ordered(names, "epoch"))) == [*found[:3], "tc_bound"]
    assert list(map(write_name, ordered(names, "comparison"))) == [*found[:4], "f1"]


@pytest.mark.parametrize(
    ("key", "value", "spread", "full", "short"),
    [
        ("accuracy", 0.91, 0.02484, "91.00 ±2.48", "91.0 ±2.5"),
        ("accuracy", 1.0, None, "100.00", "100.0"),
        ("accuracy", None, None, "-", "-"),
        ("accuracy", 0.5, 0.0, "50.00 ±0.00", "50.0 ±0.0"),
        ("accuracy", 0.9996, 0.0003, "99.96 ±0.03", "100.0 ±<0.1"),
        ("cross_entropy", 0.00025, 0.00003, "0.0003 ±<0.0001", "2.5e-04 ±3.0e-05"),
        ("weight/a", -0.25, None, "-0.2500", "-.250"),
        ("cross_entropy", 0.25, 0.125, "0.2500 ±0.1250", "0.250 ±0.125"),
        ("cross_entropy", 0.00025, None, "0.0003", "2.5e-04"),
        ("tc_bound", 1e-17, None, "0.0000", "0.000"),
        ("difference", 0.02, 0.0248, "+2.00 ±2.48", "+2.0 ±2.5"),
        ("difference", -0.0001, None, "-0.01", "-0.0"),
        ("difference", 0.003, 0.00002, "+0.30 ±<0.01", "+0.3 ±<0.1"),
        ("weight/a", -0.25, 0.0002, "-0.2500 ±0.0002", "-.250 ±<.001"),
        ("seconds_per_step", 0.0125, 0.001, "12.50 ±1.00", "12.5 ±1.0"),
        ("entropy_ratio", math.inf, None, "-", "-"),
    ],
)
def test_numbers_and_their_intervals(key, value, spread, full, short):
    name = read_name(key)
    assert number(name, value, spread) == full
    assert number(name, value, spread, short=True) == short
    interval = None if value is None else {"mean": value, "half_width": spread}
    assert mean(name, interval) == full
