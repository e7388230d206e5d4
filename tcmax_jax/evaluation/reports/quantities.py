"""The quantities of a report by name: what they are called, in which unit, and how they read."""

# {kind: (title, unit)}; the part of a name behind its slash takes the place of {}.
_KINDS = {
    "accuracy": ("accuracy, {}", "%"),
    "recalibrated": ("accuracy, recalibrated", "%"),
    "weight": ("weight of {}", ""),
    "probe": ("probe, {}", "%"),
    "without": ("without {}", "%"),
    "noise": ("noise on {} std", "%"),
    "train_cross_entropy": ("cross-entropy in training, last epoch", "nats"),
    "cross_entropy": ("cross-entropy, {}", "nats"),
    "tc_bound": ("TC bound", "nats"),
    "js_divergence": ("JS divergence", "nats"),
    "entropy_ratio": ("entropy ratio", ""),
    "multimodal_gain": ("multimodal gain", "points"),
    "cka": ("CKA, {}", ""),
    "entropy": ("entropy, {}", "nats"),
    "calibration_error": ("calibration error, {}", "%"),
    "chain": ("{}", "nats"),
}


def kind(name: str) -> str:
    """Returns the kind of a quantity: "entropy" of "entropy/audio"."""
    return name.partition("/")[0]


def title(name: str) -> str:
    """Returns the title of a quantity with its unit.

    Example:
      >>> title("accuracy"), title("entropy/audio"), title("cka/audio+visual")
      ('accuracy, fused (%)', 'entropy, audio (nats)', 'CKA, audio and visual')
    """
    text, unit = _KINDS[kind(name)]
    of = name.partition("/")[2] or "fused"
    text = text.format(of.replace("+", " and "))
    return f"{text} ({unit})" if unit else text


def scale(name: str) -> int:
    """Returns the factor from a quantity as it is stored to its unit: 100 for shares."""
    return 100 if _KINDS[kind(name)][1] in ("%", "points") else 1
