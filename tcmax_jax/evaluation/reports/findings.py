"""Sentences of a report that are generated from its numbers."""

import math
from collections.abc import Mapping, Sequence

from tcmax_jax.evaluation.quantities import Name, number, ordered, quantity, title
from tcmax_jax.evaluation.text import NEW_GROUPS, expectation

_ACCURACY = Name("accuracy")
# Normal quantile of a one-sided test at 5 %.
_QUANTILE = 1.645


def findings(comparison: Mapping, rows: Sequence[Mapping], classes: int, examples: int) -> str:
    """Returns sentences on the best method, accuracies at chance, and rows of one seed.

    Args:
      comparison: see `tcmax_jax.evaluation.comparison.compare_runs`.
      rows: the same runs, see `make_rows`.
      classes: their number.
      examples: number of those that accuracies are of.
    """
    return " ".join([_best(comparison, rows), *_at_chance(rows, classes, examples), *_seeds(rows)])


def recalibration_findings(rows: Sequence[Mapping], split: str) -> list[str]:
    """Returns a sentence on where recalibration is expected to help or to harm.

    It is empty for runs of earlier versions, and where validation has too few examples.

    Args:
      rows: see `make_rows`.
      split: the split that is reported.
    """
    told = {}
    for row in rows:
        fitted = [run["analysis"][split].get("recalibration", {}) for run in row["runs"]]
        if judged := [each["judged"] for each in fitted if "judged" in each]:
            told[row["label"]] = judged
    if not told:
        return []
    if not all(each["holds"] for judged in told.values() for each in judged):
        return [f"Validation says nothing about recalibration on {NEW_GROUPS}."]
    groups = next(iter(told.values()))[0]["groups"]
    left_out = f"the {groups} groups" if groups else "the examples"
    expected = [
        f"a {outlook} is expected for {_counted(told, outlook)}" for outlook in ("gain", "loss")
    ]
    return [f"Cross-validation over {left_out} of validation: {', '.join(expected)}."]


def _counted(told, outlook):
    """Returns the labels with a run for which that is expected, and their number."""
    runs = {label: [expectation(each) for each in judged] for label, judged in told.items()}
    named = [
        f"{label} ({x.count(outlook)} of {len(x)})" for label, x in runs.items() if outlook in x
    ]
    return ", ".join(named) or "none"


def at_chance(share: float, classes: int, examples: int) -> bool:
    """Returns whether an accuracy is within what guessing may reach on N examples.

    That is share <= 1/C + 1.645 sqrt(1/C (1 - 1/C) / N).
    """
    chance = quantity(_ACCURACY).chance(classes)
    return share <= chance + _QUANTILE * math.sqrt(chance * (1 - chance) / examples)


def _best(comparison, rows):
    known = [row for row in rows if row["measures"][_ACCURACY]["mean"] is not None]
    if not known:
        return "No fused accuracy is finite."
    best = max(known, key=lambda row: row["measures"][_ACCURACY]["mean"])
    reached = _told(_ACCURACY, best)
    if len(rows) == 1:
        return f"The fused accuracy of {best['label']} is {reached}."
    text = f"{best['label']} has the highest fused accuracy, {reached}"
    compared = {(row["method"], row["fusion"]): row for row in comparison["rows"]}
    own = compared[best["method"], best["fusion"]]
    if (gap := own["difference"]) is None or gap["mean"] is None:
        return f"{text}."
    name = Name("difference")
    told = f"{number(name, gap['mean'], gap['half_width'], short=True)} {quantity(name).unit}"
    doubt = ", but its interval contains 0"
    unclear = gap["half_width"] is not None and abs(gap["mean"]) <= gap["half_width"]
    against = own["against"]["method"]
    return f"{text}: {told} against {against}{doubt if unclear else ''}."


def _at_chance(rows, classes, examples):
    """Returns a sentence on each accuracy that is at chance for some rows, or that none is."""
    names = [
        name
        for name in ordered((name for row in rows for name in row["measures"]), "curves")
        if name.kind == _ACCURACY.kind
    ]
    sentences = []
    for name in names:
        told = [row for row in rows if (row["measures"].get(name) or {}).get("mean") is not None]
        low = [row for row in told if at_chance(row["measures"][name]["mean"], classes, examples)]
        if low:
            chance = number(name, quantity(name).chance(classes), short=True)
            which = ", ".join(f"{row['label']} ({_told(name, row)})" for row in low)
            which = which if len(low) < len(told) or len(told) == 1 else f"every method: {which}"
            sentences.append(f"At chance ({chance}): the {title(name, unit=False)} with {which}.")
    if not sentences and names:
        sentences.append("No fused accuracy, and none of a modality, is at chance.")
    return sentences


def _seeds(rows):
    """Returns a warning where rows have one seed, whose effect is then unknown."""
    if len(rows) > 1 and any(len(row["runs"]) == 1 for row in rows):
        return [
            "With one seed, a difference between methods cannot be told from one between seeds."
        ]
    return []


def _told(name, row):
    measure = row["measures"][name]
    unit = quantity(name).unit
    return number(name, measure["mean"], short=True) + (f" {unit}" if unit else "")
