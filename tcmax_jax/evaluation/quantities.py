"""The table of measured quantities: names, units, digits, better directions, levels of chance.

Tables, pages, figures and logs take all of these from here. A quantity without an entry is shown
under its key. In files a number stands under a key such as "accuracy/audio"; `read_name`
and `write_name` translate between keys and names.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple


class Condition(NamedTuple):
    """An evaluation condition: missing modalities, or noise on one of them.

    Attributes:
      missing: names of the modalities that are missing, sorted.
      noisy: name of the modality with noise on its input; None without noise.
      strength: of that noise, in standard deviations of the input.
    """

    missing: tuple[str, ...] = ()
    noisy: str | None = None
    strength: float = 0.0


def without(modalities: Iterable[str]) -> Condition:
    """Returns the condition in which modalities are missing."""
    return Condition(missing=tuple(sorted(modalities)))


class Name(NamedTuple):
    """The structured name of a number.

    Attributes:
      kind: key of the quantity.
      of: what it is of: a modality, a prediction, a pair "a+b" or a condition; "" for the fused
        prediction or the whole classifier.
      by: how modalities predict where others are missing, in quantities that depend on it:
        `MARGINAL`, or "" for the parts of an additive head.
    """

    kind: str
    of: str | Condition = ""
    by: str = ""


MARGINAL, _SPLIT = "marginal", "split"
# Predictions from all modalities, which have no name of a modality.
_WHOLE = ("fused", "recalibrated")


def under(condition: Condition, by: str = "") -> Name:
    """Returns the name of the fused accuracy under a condition, see `Name`."""
    return Name("without" if condition.missing else "noise", condition, by)


def write_name(name: Name) -> str:
    """Returns the key of a number in files.

    Example:
      >>> write_name(Name("probe", "audio")), write_name(under(without(["b", "a"])))
      ('probe/audio', 'without/a+b')
      >>> write_name(under(Condition(noisy="audio", strength=0.5)))
      'noise/audio=0.5'
      >>> write_name(Name("accuracy", "audio", by="marginal"))
      'marginal/accuracy/audio'
    """
    kind = f"{name.by}/{name.kind}" if name.by else name.kind
    match name.of:
        case "":
            return kind
        case Condition(missing=(), noisy=modality, strength=strength):
            return f"{kind}/{modality}={strength:g}"
        case Condition(missing=modalities):
            return f"{kind}/{'+'.join(modalities)}"
        case of:
            return f"{kind}/{of}"


def read_name(key: str) -> Name:
    """Returns the name of a number that stands under a key in a file, see `write_name`.

    Example:
      >>> read_name("without/a+b").of.missing, read_name("noise/audio=0.5").of.strength
      (('a', 'b'), 0.5)
    """
    kind, _, of = key.partition("/")
    if kind == MARGINAL and of:
        return read_name(of)._replace(by=MARGINAL)
    if kind == "without" and of:
        return Name(kind, without(of.split("+")))
    if kind == "noise" and (match := re.fullmatch(r"(.+)=(\d+(?:\.\d+)?(?:e[+-]\d+)?)", of)):
        return Name(kind, Condition(noisy=match[1], strength=float(match[2])))
    return Name(kind, of)


class Quantity(NamedTuple):
    """How a quantity is shown.

    Attributes:
      key: its kind; with a slash behind it that of single modalities, predictions, pairs or
        conditions.
      title: its name; {} stands for what it is of.
      unit: in which it is shown; "" for shares and ratios.
      short: name in tables of many columns; the title when None.
      digits: behind the point.
      factor: from the number as it is stored to its unit.
      better: "higher" or "lower", None where neither is.
      chance: function of the number of classes: its value where nothing is known of the label;
        None where there is no such level.
      whole: largest value that can be, to which axes reach from 0 whatever the numbers are; None
        where axes follow the numbers.
      signed: whether it is shown with its sign.
      partial: whether it depends on how modalities predict where others are missing, see `Name.by`.
      shown: where: "comparison", "study", "epoch" (the line of an epoch), "curves", one of
        `ANALYSES`, the tables of a report, and figures of bars by their names.
    """

    key: str
    title: str
    unit: str = ""
    short: str | None = None
    digits: int = 4
    factor: float = 1
    better: str | None = None
    chance: Callable[[int], float] | None = None
    whole: float | None = None
    signed: bool = False
    partial: bool = False
    shown: tuple[str, ...] = ()


# Tables of a report, and their headings.
ANALYSES = {
    "losses": "Cross-entropy",
    "weights": "Recalibration",
    "agreement": "Agreement of the modalities",
    "certainty": "Certainty and calibration",
    "conditions": "Missing and noisy inputs",
    "information": "Information",
}
_OF_UNKNOWN = ("comparison", "study", "curves")
# Where the split numbers stand beside the marginal ones; elsewhere only in place of them.
_BESIDE = ("comparison", *ANALYSES)
# Accuracies are stored as shares of 1, and shown in percent, so that their differences are points.
_HUNDREDTHS = {"digits": 2, "factor": 100}


def _accuracy(key, title, short=None, shown=(), **fields):
    fields |= {"better": "higher", "chance": lambda classes: 1 / classes, "whole": 1}
    return Quantity(key, title, "%", short, shown=shown, **_HUNDREDTHS, **fields)


def _loss(key, title, shown, **fields):
    return Quantity(key, title, "nats", better="lower", chance=math.log, shown=shown, **fields)


_POINTS = {"unit": "points", **_HUNDREDTHS, "better": "higher", "signed": True}
# In the order in which they are shown.
QUANTITIES = (
    _accuracy("accuracy", "fused accuracy", "fused", ("comparison", "study", "epoch", "curves")),
    _accuracy("recalibrated", "recalibrated accuracy", "recalibrated",
              ("comparison", "study", "weights")),
    _accuracy("accuracy/", "accuracy of {}", "{}", ("comparison", "study", "epoch", "curves"),
              partial=True),
    _accuracy("probe/", "accuracy of {} (probe)", "{} (probe)", ("comparison",)),
    _accuracy("without/", "fused accuracy without {}", shown=("conditions", "missing"),
              partial=True),
    _accuracy("noise/", "fused accuracy with noise on {}", shown=("conditions",)),
    Quantity("difference", "difference of fused accuracy", short="difference", shown=("study",),
             **_POINTS),
    Quantity("multimodal_gain", "multimodal gain", partial=True, shown=("agreement", "modalities"),
             **_POINTS),
    _loss("train_cross_entropy", "cross-entropy in training", ("losses", "curves")),
    _loss("cross_entropy", "cross-entropy", ("study", "losses", "curves")),
    _loss("cross_entropy/", "cross-entropy, {}", ("losses",), partial=True),
    Quantity("tc_bound", "TC bound", "nats", better="higher", chance=lambda classes: 0.0,
             shown=("study", "epoch", "curves")),
    Quantity("weight/", "weight of {}", shown=("weights",)),
    Quantity("js_divergence", "JS divergence", "nats", partial=True,
             shown=("agreement", "modalities")),
    Quantity("entropy_ratio", "entropy ratio", partial=True, shown=("agreement", "modalities")),
    Quantity("cka/", "linear CKA, {}", shown=("agreement",)),
    Quantity("entropy/", "entropy, {}", "nats", partial=True, shown=("certainty", "entropy")),
    Quantity("calibration_error/", "calibration error, {}", "points", better="lower", partial=True,
             shown=("certainty", "calibration"), **_HUNDREDTHS),
    Quantity("chain/", "{}, lower bound", "nats", shown=("information",)),
    Quantity("loss", "training loss", "nats", shown=("study", "curves")),
    Quantity("seconds_per_step", "time of a step", "ms", digits=2, factor=1000, better="lower",
             shown=("study",)),
    Quantity("step_memory", "memory of a step", "MiB", digits=1, better="lower", shown=("study",)),
)  # fmt: skip
_PLACES = {quantity.key: place for place, quantity in enumerate(QUANTITIES)}


def quantity(name: Name) -> Quantity:
    """Returns how to show a number; one without an entry in the table is shown by its key."""
    place = _place(name)
    if place < len(QUANTITIES):
        return QUANTITIES[place]
    return Quantity(write_name(name), write_name(name), shown=_OF_UNKNOWN)


def ordered(names: Iterable[Name], shown: str | None = None) -> list[Name]:
    """Returns each name once, in the order of the table, names without an entry last.

    Those of one quantity begin with the fused prediction, then come the marginal ones.

    Args:
      names: of numbers.
      shown: the table or figure in which they are shown, see `Quantity`; all of them when None.
        Where it does not show both, a split number is left out whose marginal is there.
    """
    unique = dict.fromkeys(n for n in names if shown is None or shown in quantity(n).shown)
    if shown is not None and shown not in _BESIDE:
        unique = [n for n in unique if n.by or n._replace(by=MARGINAL) not in unique]
    return sorted(unique, key=lambda n: (_place(n), n.of not in ("", "fused"), not n.by))


def _place(name):
    return _PLACES.get(name.kind + ("/" if name.of else ""), len(QUANTITIES))


def title(name: Name, *, short: bool = False, unit: bool = True) -> str:
    """Returns the heading of a number, with its rule of prediction and its unit.

    Args:
      name: of the number.
      short: whether to take the short name, for tables of many columns.
      unit: whether to add the unit.

    Example:
      >>> title(Name("accuracy")), title(Name("accuracy", "audio"), short=True)
      ('fused accuracy (%)', 'audio (split, %)')
      >>> title(Name("entropy", "fused")), title(Name("my_metric", "audio"))
      ('entropy, fused (nats)', 'my_metric/audio')
      >>> title(Name("js_divergence", by="marginal"))
      'JS divergence (marginal, nats)'
    """
    known = quantity(name)
    text = (known.short if short and known.short else known.title).replace("{}", _spelled(name.of))
    by = (name.by or _SPLIT) if known.partial and name.of not in _WHOLE else ""
    notes = [note for note in (by, known.unit if unit else "") if note]
    return f"{text} ({', '.join(notes)})" if notes else text


def _spelled(of):
    match of:
        case Condition(missing=(), noisy=modality, strength=strength):
            return f"{modality} ({strength:g} std)"
        case Condition(missing=modalities):
            return " and ".join(modalities)
        case _:
            return of.replace("+", " and ")


def number(
    name: Name, value: float | None, spread: float | None = None, *, short: bool = False
) -> str:
    """Returns a number as shown, "-" for none and for one that is not finite.

    Args:
      name: of the number.
      value: as it is stored.
      spread: half the width of its interval, or its standard error; None for none.
      short: whether to take a digit less, and shares without the zero before the point.

    Example:
      >>> number(Name("accuracy"), 0.91, 0.0248), number(Name("accuracy"), 0.91, 0.0248, short=True)
      ('91.00 ±2.48', '91.0 ±2.5')
      >>> number(Name("accuracy"), 0.9996, 0.0003, short=True)
      '100.0 ±<0.1'
      >>> number(Name("difference"), 0.02)
      '+2.00'
    """
    if value is None or not math.isfinite(value):
        return "-"
    known = quantity(name)
    text = _rounded(known, value, "+" if known.signed else "", short)
    if spread is None:
        return text
    width = _rounded(known, spread, "", short)
    if "e" in width and "e" not in text:
        last_digit = 10.0 ** (short - known.digits) / known.factor
        width = f"<{_rounded(known, last_digit, '', short)}"
    return f"{text} ±{width}"


def mean(name: Name, interval: Mapping | None, *, short: bool = False) -> str:
    """Returns {"mean", "half_width"} of a number as shown, see `number`; "-" for None."""
    interval = interval or {"mean": None, "half_width": None}
    return number(name, interval["mean"], interval["half_width"], short=short)


def _rounded(known, value, sign, short):
    """Returns a number with the digits of its quantity, unless these are all zero."""
    value *= known.factor
    text = f"{value:{sign}.{known.digits - short}f}"
    if not sign and abs(value) > 1e-12 and float(text) == 0:
        return f"{value:.1e}"
    return re.sub(r"^(-?)0\.", r"\1.", text) if short and not known.unit else text
