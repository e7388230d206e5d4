"""Claims about splits by name: their size, that they stay, and that groups stay whole."""

import collections

import pytest

from tcmax_jax.data.clips import Clip, RawDataError
from tcmax_jax.data.splits import check_groups, held_out, move, split_by_group

NAMES = [f"clip{i}" for i in range(100)]


def test_share_of_the_names_whatever_their_order():
    chosen = held_out(NAMES, 0.2)
    assert len(chosen) == 20
    assert held_out(reversed(NAMES), 0.2) == chosen
    assert held_out(NAMES * 2, 0.2) == chosen
    assert held_out(NAMES, 0.1) < chosen


def test_the_choice_is_the_same_everywhere():
    # By hand: sha256("a") = ca97.., "b" = 3e23.., "c" = 2e7d..
    assert held_out(["a", "b", "c"], 1 / 3) == {"c"}
    assert held_out(["a", "b", "c"], 2 / 3) == {"b", "c"}


@pytest.mark.parametrize(
    "number,share,size", [(1, 0.9, 0), (2, 0.01, 1), (2, 1.0, 1), (5, 0.0, 0), (0, 0.5, 0)]
)
def test_never_all_and_of_two_at_least_one(number, share, size):
    assert len(held_out(NAMES[:number], share)) == size


def test_groups_move_whole_within_their_strata():
    clips = [
        Clip(f"{label}{group}{take}", split, label)
        for label in "xy"
        for group in range(5)
        for take in range(3)
        for split in (["test"] if group == 4 else ["train"])
    ]
    moved = move(
        clips, 0.25, to="validation", group_of=lambda c: c.id[:2], stratum_of=lambda c: c.label
    )
    assert [clip.id for clip in moved] == [clip.id for clip in clips]
    for label in "xy":
        own = {c.id[:2] for c in moved if c.split == "validation" and c.label == label}
        assert len(own) == 1
        (group,) = own
        assert sum(c.id[:2] == group for c in moved if c.split == "validation") == 3
    assert sum(clip.split == "test" for clip in moved) == 6


def in_groups(number, takes=3):
    """Clips of so many groups, of two classes each, the takes of a group far from each other."""
    return [
        Clip(f"g{g}t{t}", "train", "xy"[t % 2], group=f"g{g}")
        for t in range(takes)
        for g in range(number)
    ]


def in_classes(**sizes):
    """Clips without groups, so many of each class."""
    return [Clip(f"{c}{i}", "train", c) for c, size in sizes.items() for i in range(size)]


def splits_by_id(clips):
    return {clip.id: clip.split for clip in clips}


def counts(clips):
    """Returns {(label, split): clips}."""
    return dict(collections.Counter((clip.label, clip.split) for clip in clips))


def groups_by_split(clips):
    """Returns {split: its groups}; asserts that each group is in one split."""
    splits = collections.defaultdict(set)
    for clip in clips:
        splits[clip.group].add(clip.split)
    assert all(len(each) == 1 for each in splits.values())
    groups = collections.defaultdict(set)
    for group, (split,) in splits.items():
        groups[split].add(group)
    return groups


@pytest.mark.parametrize("clips", [in_groups(10), in_classes(x=20, y=30)], ids=["groups", "none"])
@pytest.mark.parametrize(
    "options", [{"test_share": 0.2}, {"folds": 4, "fold": 3}], ids=["shares", "folds"]
)
def test_a_split_does_not_depend_on_the_order_of_clips(clips, options):
    split = split_by_group(clips, validation_share=0.25, **options)
    again = split_by_group(clips[::-1], validation_share=0.25, **options)
    assert [clip.id for clip in split] == [clip.id for clip in clips]
    assert splits_by_id(split) == splits_by_id(again)
    assert set(splits_by_id(split).values()) == {"train", "validation", "test"}


def test_each_class_gives_its_share_where_there_are_no_groups():
    split = split_by_group(in_classes(x=40, y=20, z=3), validation_share=0.2, test_share=0.25)
    # A fourth is test, a fifth of the rest validation; at least one of a class and never all.
    assert counts(split) == {
        ("x", "test"): 10, ("x", "validation"): 6, ("x", "train"): 24,
        ("y", "test"): 5, ("y", "validation"): 3, ("y", "train"): 12,
        ("z", "test"): 1, ("z", "validation"): 1, ("z", "train"): 1,
    }  # fmt: skip


def test_a_share_of_the_groups_is_whole_groups():
    groups = groups_by_split(split_by_group(in_groups(10), validation_share=0.25, test_share=0.2))
    sizes = {split: len(names) for split, names in groups.items()}
    assert sizes == {"test": 2, "validation": 2, "train": 6}


def test_groups_are_chosen_by_the_hash_of_their_name():
    clips = [Clip(f"{name}{i}", "train", "x", group=name) for name in "abc" for i in range(2)]
    groups = groups_by_split(split_by_group(clips, validation_share=0.4, test_share=1 / 3))
    # By hand: sha256("group a") = 5a84.., "group b" = 0c20.., "group c" = 2c4b..
    assert groups == {"test": {"b"}, "validation": {"c"}, "train": {"a"}}


def test_clips_of_other_splits_stay_where_they_are():
    clips = [clip._replace(split="test") for clip in in_classes(x=3)] + in_classes(y=4)
    split = split_by_group(clips, validation_share=0.5)
    assert counts(split) == {("x", "test"): 3, ("y", "validation"): 2, ("y", "train"): 2}


@pytest.mark.parametrize(("number", "folds"), [(7, 3), (6, 3), (5, 5)])
def test_each_group_is_in_the_test_split_of_one_fold(number, folds):
    clips = in_groups(number)
    splits = [
        split_by_group(clips, validation_share=0.3, folds=folds, fold=fold) for fold in range(folds)
    ]
    tested = [groups_by_split(split)["test"] for split in splits]
    assert sorted(name for names in tested for name in names) == [f"g{i}" for i in range(number)]
    sizes = [len(names) for names in tested]
    assert max(sizes) - min(sizes) <= 1
    assert all(groups_by_split(split)["validation"] for split in splits)


def test_folds_take_their_part_of_each_class_where_there_are_no_groups():
    clips = in_classes(x=7, y=5)
    tested = collections.Counter()
    for fold in range(3):
        split = split_by_group(clips, validation_share=0.0, folds=3, fold=fold)
        own = [clip for clip in split if clip.split == "test"]
        tested.update(clip.id for clip in own)
        number = collections.Counter(clip.label for clip in own)
        assert number["x"] in (2, 3) and number["y"] in (1, 2)
    assert tested == collections.Counter(clip.id for clip in clips)


def test_one_group_is_held_out():
    groups = groups_by_split(
        split_by_group(in_groups(5), validation_share=0.25, held_out_group="g3")
    )
    assert groups["test"] == {"g3"}
    assert len(groups["validation"]) == 1 and len(groups["train"]) == 3


@pytest.mark.parametrize(
    ("clips", "options", "message"),
    [
        (
            in_groups(7),
            {"held_out_group": "g9"},
            r"data\.held_out_group to be one of the 7 groups of the list \(g0, g1, g2, g3, g4\), "
            r"got 'g9'\. Correct it",
        ),
        (
            in_classes(x=3),
            {"held_out_group": "g9"},
            r"one of the 0 groups of the list \(which has no column group\), got 'g9'",
        ),
        (
            in_groups(2),
            {"folds": 3},
            r"at least 3 groups, or clips of a class, for data\.folds=3, got 2\. Lower it",
        ),
        (in_classes(x=4, y=3), {"folds": 5}, r"for data\.folds=5, got 4\. Lower it"),
    ],
)
def test_groups_that_are_not_there_are_refused(clips, options, message):
    with pytest.raises(RawDataError, match=message):
        split_by_group(clips, validation_share=0.2, **options)


def test_a_group_in_two_splits_is_refused():
    clips = [
        Clip("a", "train", "x", place="list.csv, line 2", group="Ann"),
        Clip("b", "test", "x", place="list.csv, line 3", group="Bob"),
        Clip("c", "validation", "x", place="list.csv, line 4"),
        Clip("d", "train", "x", place="list.csv, line 5"),
        Clip("e", "train", "x", place="list.csv, line 6", group="Ann"),
    ]
    check_groups(clips)
    message = (
        r"^list\.csv, line 7: Expected all clips of the group 'Ann' in one split, got test and "
        r"train \(list\.csv, line 2\)\. .*Correct the splits, or leave the column split out"
    )
    with pytest.raises(RawDataError, match=message):
        check_groups([*clips, Clip("f", "test", "x", place="list.csv, line 7", group="Ann")])
