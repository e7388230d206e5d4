"""Provenance of runs: data, configurations, versions, devices, and the commands to repeat them."""

import json
import shlex
from collections.abc import Mapping, Sequence

from tcmax_jax.evaluation.comparison import RUN, collected, grouped
from tcmax_jax.evaluation.reports.runs import differing_fields, flat

# These have columns of their own.
_SHOWN = ("seed", "method.", "model.fusion.")


def provenance(runs: Sequence[Mapping], failed: Sequence[Mapping]) -> list[dict]:
    """Returns the blocks on the provenance of runs and on failed ones, see `read_runs`."""
    differences = _differences(runs)
    return [
        {"heading": "What was run", "level": 2},
        {"table": _facts(runs)},
        {"heading": "Methods and their options", "level": 3},
        {"table": _methods(runs)},
        {"heading": "Runs", "level": 3},
        {"table": _runs(runs, failed)},
        {"heading": "Other differences between their configurations", "level": 3},
        {"table": differences} if differences[1:] else {"text": "None."},
        {"heading": "Versions and devices", "level": 3},
        {"table": environments_table(runs)},
        {"heading": "Commands to repeat the runs", "level": 3},
        {
            "text": "In a checkout; with --data_dir=FOLDER where the prepared data lies elsewhere "
            "than in ~/tensorflow_datasets."
        },
        {"code": commands([*runs, *failed])},
    ]


def commands(runs: Sequence[Mapping]) -> str:
    """Returns shell commands that repeat runs: a function with common flags, a call for each."""
    configs = [run["config"] for run in runs]
    first, *rest = configs
    shared = [k for k in first if all(k in c and c[k] == first[k] for c in rest)]
    head = ["python launch.py", *(_override(name, first[name]) for name in shared)]
    lines = ["again() {", "  " + " \\\n    ".join([*head, '"$@"']), "}"]
    for number, config in enumerate(configs):
        overrides = [_override(name, config[name]) for name in config if name not in shared]
        name = f"{config['method']['kind']}-{config['model']['fusion']['kind']}"
        # The number keeps methods of one name with other options apart.
        workdir = shlex.quote(f"--workdir=runs/again/{number:02d}-{name}-seed{config['seed']}")
        lines.append(" ".join(["again", *overrides, workdir]))
    return "\n".join(lines)


def _override(name, value):
    # A text that is no JSON stands for itself, and a string in quotes would keep them.
    return shlex.quote(f"--config.{name}={plain(value)}")


def _facts(runs):
    data, results, configs = runs[0]["data"], runs[0]["results"], [run["config"] for run in runs]
    clips = results.get("data", {}).items()
    checksum = data.get("checksum")
    return [
        ["", ""],
        ["data set", f"{data['name']} ({configs[0]['data']['kind']})"],
        ["classes", str(len(data["class_names"]))],
        ["modalities", ", ".join(configs[0]["modalities"])],
        *([f"{s} examples", str(each["examples"])] for s, each in runs[0]["analysis"].items()),
        *([f"clips used, {s}", f"{each['used']} of {each['listed']} listed"] for s, each in clips),
        *([["checksum of the list of clips", checksum]] if checksum else []),
        ["seeds", _several(run["seed"] for run in runs)],
        ["epochs", _several(config["training"]["epochs"] for config in configs)],
        ["steps", _several(run["log"][-1]["step"] for run in runs)],
        ["batch size", _several(config["training"]["batch_size"] for config in configs)],
        ["optimizer", _several(config["optimizer"]["kind"] for config in configs)],
        ["learning rate", _several(config["optimizer"]["learning_rate"] for config in configs)],
    ]


def _methods(runs):
    rows = [["method", "fusion", "options", "seeds"]]
    for (method, fusion), group in grouped(runs).items():
        options = flat({k: v for k, v in group[0]["config"]["method"].items() if k != "kind"})
        text = ", ".join(f"{name} {plain(value)}" for name, value in options.items())
        rows.append([method, fusion, text or "none", _several(run["seed"] for run in group)])
    return rows


def _runs(runs, failed):
    rows = [["folder", *RUN, "best epoch", "step", "collapsed", "time of steps (s)"]]
    for run in [*runs, *failed]:
        told = ["failed", "-", "-", "-"]
        if results := run.get("results"):
            collapsed = ", ".join(results.get("collapsed", [])) or "no"
            told = [str(results["epoch"]), str(results["step"]), collapsed, _time(run)]
        rows.append([*(str(run[name]) for name in ("folder", *RUN)), *told])
    return rows


def _time(run):
    """Returns the seconds of a run's steps, waiting included, from its logged rates."""
    entries = [entry for entry in run["log"] if entry["split"] == "train"]
    if not all("examples_per_second" in entry for entry in entries):
        return "-"
    starts = [0, *(entry["step"] for entry in entries)]
    size = run["config"]["training"]["batch_size"]
    seconds = sum(
        (entry["step"] - start) * size / entry["examples_per_second"]
        for start, entry in zip(starts, entries, strict=False)
    )
    return f"{seconds:.0f}"


def _differences(runs):
    rows = [["field", "value", "runs"]]
    names = [f"{run['method']}, {run['fusion']}, seed {run['seed']}" for run in runs]
    for path, values in differing_fields([run["config"] for run in runs]):
        texts = list(map(plain, values)) if not path.startswith(_SHOWN) else []
        for text in dict.fromkeys(texts):
            holders = [name for name, other in zip(names, texts, strict=True) if other == text]
            rows.append([path, text, "; ".join(holders)])
    return rows


def environments_table(runs: Sequence[Mapping]) -> list[list[str]]:
    """Returns a table of the versions, commits, hosts and devices of runs."""
    told = collected([entry for run in runs for entry in run["environments"]])
    told.pop("after_step", None)
    return [["", ""], *([name, _several(values)] for name, values in told.items())]


def _several(values):
    """Returns the different values as text, in order of appearance."""
    return ", ".join(map(plain, dict.fromkeys(values)))


def plain(value) -> str:
    """Returns a value of a configuration as text."""
    return value if isinstance(value, str) else json.dumps(value)
