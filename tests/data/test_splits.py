"""Claims about splits by name: their size, that they stay, and that groups stay whole."""

import pytest

from tcmax_jax.data.clips import Clip
from tcmax_jax.data.splits import held_out, move

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
