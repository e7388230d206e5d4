"""Conversion of files of earlier versions to the current format."""

from collections.abc import Mapping

# Version 0.2 kept the fields of all optimisers and schedules side by side, used or not.
_OF_RULE = {"sgd": ("momentum", "bound_decrease"), "adamw": ()}
_OF_SCHEDULE = {"constant": (), "step": ("decay_epochs", "decay_factor"), "cosine": ()}
_OF_BOTH = (
    "name",
    "schedule",
    "warmup_epochs",
    "momentum",
    "bound_decrease",
    *_OF_SCHEDULE["step"],
)


def upgraded(config: Mapping) -> dict:
    """Returns the plain data of a configuration, or of a part of one, in the current format.

    Up to version 0.2, methods and optimisers had a `name` in place of a `kind`, a head was its name
    alone, and what schedules take stood among the fields of the optimiser.
    """
    config = dict(config)
    if "method" in config:
        config["method"] = _kind_first(config["method"])
    if _is_section(config.get("model")) and isinstance(config["model"].get("fusion"), str):
        config["model"] = {**config["model"], "fusion": {"kind": config["model"]["fusion"]}}
    if _is_section(config.get("comparison")):
        comparison = dict(config["comparison"])
        if isinstance(comparison.get("methods"), list | tuple):
            comparison["methods"] = [_kind_first(method) for method in comparison["methods"]]
        config["comparison"] = comparison
    if _is_section(config.get("optimizer")) and "name" in config["optimizer"]:
        config["optimizer"] = _optimizer(config["optimizer"])
    return config


def of_stored_run(config: Mapping) -> dict:
    """Returns the plain data of a run's whole configuration, with what its version implied.

    Up to version 0.2 inputs were not standardised, and that of features was named after them.
    """
    modalities = config.get("modalities")
    if not _is_section(modalities):
        return dict(config)
    return {**config, "modalities": {name: _modality(x) for name, x in modalities.items()}}


def _is_section(value):
    return isinstance(value, Mapping)


def _kind_first(section):
    if not _is_section(section) or "name" not in section:
        return section
    return {"kind": section["name"], **{n: x for n, x in section.items() if n != "name"}}


def _modality(old):
    if not _is_section(old) or not _is_section(old.get("input")):
        return old
    new = {**old["input"]}
    if new.get("kind") == "features":
        new["kind"] = "array"
    if new.get("kind") in ("array", "spectrogram"):
        new.setdefault("standardize", False)
    return {**old, "input": new}


def _optimizer(old):
    kind, schedule = old["name"], old.get("schedule", "constant")
    taken = ("warmup_epochs", *_OF_SCHEDULE.get(schedule, ()))
    new = {"kind": kind} | {n: x for n, x in old.items() if n not in _OF_BOTH}
    new["schedule"] = {"kind": schedule} | {n: old[n] for n in taken if n in old}
    return new | {n: old[n] for n in _OF_RULE.get(kind, ()) if n in old}
