"""Checks before a preparation starts: splits, files, array shapes."""

from collections import Counter
from collections.abc import Mapping, Sequence

from tcmax_jax.data.clips import SPLITS, Listing, RawDataError
from tcmax_jax.data.forms import Form
from tcmax_jax.data.preparation.chunks import Outcome
from tcmax_jax.data.sources import ClipsSource

LEAVE_OUT = "allow_skipped (--allow_skipped) leaves such clips out"
_MISSING_SHOWN = 5


def resolved(source: ClipsSource, listing: Listing) -> dict[str, Form]:
    """Returns {modality: stored form} with all fields that the files of the clips determine.

    Raises:
      RawDataError: arrays of a modality differ in shape.
    """
    forms = {}
    for modality, form in source.stored.items():
        try:
            forms[modality] = form.resolved([clip.of(modality) for clip in listing.clips])
        except RawDataError as error:
            raise RawDataError(f"data.stored.{modality}: {error}") from error
    return forms


def check_all(source: ClipsSource, listing: Listing) -> None:
    """Checks splits, files and rows of arrays; raises RawDataError."""
    check_listed(listing)
    check_files(listing, source)
    for modality, form in source.stored.items():
        form.check_listed([clip.of(modality) for clip in listing.clips])


def from_files(forms: Mapping[str, Form]) -> dict[str, dict]:
    """Returns {modality: fields of its form that are read from files}, as JSON can hold them."""
    fields = {m: {n: getattr(form, n) for n in form.from_files} for m, form in forms.items()}
    plain = {
        m: {n: list(x) if isinstance(x, tuple) else x for n, x in each.items()}
        for m, each in fields.items()
    }
    return {m: each for m, each in plain.items() if each}


def is_weighted(listing: Listing) -> bool:
    """Returns whether a list gives its clips weights."""
    return any(clip.weight != 1 for clip in listing.clips)


def check_listed(listing: Listing) -> None:
    """Checks, before decoding, that the splits and classes needed for training are listed."""
    there = Counter(clip.split for clip in listing.clips)
    for split in ("train", "validation"):
        if not there[split]:
            found = ", ".join(f"{number} of {name}" for name, number in there.items())
            raise RawDataError(
                f"Expected clips of the splits train, which is fitted, and validation, which "
                f"chooses the best checkpoint, got none of {split} ({found or 'no clips'}). Give "
                f"some clips the split {split}, or raise data.validation_share where there is one."
            )
    labels = {clip.label for clip in listing.clips if clip.split == "train"}
    if len(labels) == 1:
        raise RawDataError(
            f"Expected train clips of two classes or more, got {labels.pop()!r} alone. Add others, "
            "or correct the labels."
        )


def check_files(listing: Listing, source: ClipsSource) -> None:
    """Checks, before decoding, that files exist: all, or with allow_skipped some of each split."""
    needed = []
    for clip in listing.clips:
        for modality, form in source.stored.items():
            file = form.file(clip.of(modality))
            if file is None:
                raise RawDataError(
                    f"{clip.place}: Expected a file for {modality}, got none. Name it in the list, "
                    f"or leave {modality} out of data.stored."
                )
            needed.append((clip, file))
    absent = {file for file in {file for _, file in needed} if not file.exists()}
    lacking = {clip: file for clip, file in needed if file in absent}
    hint = source.layout and f". Layout: {source.layout}"
    if lacking and not source.allow_skipped:
        first = list(lacking.items())[:_MISSING_SHOWN]
        shown = ", ".join(f"{file} ({clip.place})" for clip, file in first)
        raise RawDataError(
            f"Expected the files of all {len(listing.clips)} clips, got none for {len(lacking)}, "
            f"first {shown}. Correct the paths, or {LEAVE_OUT}{hint or '.'}"
        )
    for split in SPLITS:
        clips = [clip for clip in listing.clips if clip.split == split]
        if clips and all(clip in lacking for clip in clips):
            raise _lost_split(
                split, f"{lacking[clips[0]]} ({clips[0].place}) is missing{hint or '.'}"
            )


def check_used(outcomes: Sequence[Outcome]) -> None:
    """Raises RawDataError where no clip of a split could be used."""
    used = {outcome.split for outcome in outcomes if outcome.reason is None}
    for outcome in outcomes:
        if outcome.split not in used:
            raise _lost_split(outcome.split, outcome.message)


def check_complete(folder, skipped: Sequence[Mapping], source: ClipsSource) -> None:
    """Raises RawDataError where prepared data lacks clips and the options do not allow it."""
    if skipped and not source.allow_skipped:
        raise RawDataError(
            f"{folder}: Expected a complete data set, got one without {len(skipped)} clips. The "
            f"first: {skipped[0]['message']} Pass --allow_skipped for such data; or complete the "
            "raw data, delete that folder and prepare it again."
        )


def _lost_split(split: str, reason: str) -> RawDataError:
    return RawDataError(
        f"Expected clips of the split {split} that can be decoded, got none. {reason} Correct the "
        "files or leave the split out."
    )
