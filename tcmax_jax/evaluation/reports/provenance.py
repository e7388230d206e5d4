"""What was run: data, configurations, versions, devices, and the commands to run it again."""

import json
import shlex
from collections.abc import Mapping, Sequence

from tcmax_jax.evaluation.reports.runs import differing_fields, flat

# These have columns of their own.
_SHOWN = ("seed", "method.", "model.fusion.")


def provenance(runs: Sequence[Mapping], failed: Sequence[Mapping]) -> list[dict]:
    """Returns the blocks on what was run.

    Args:
      runs: see `read_runs`.
      failed: see `read_runs`.
    """
    differences = _differences(runs)
    return [
        {"heading": "What was run", "level": 2},
        {"table": _facts(runs)},
        {"heading": "Methods and their options", "level": 3},
        {"table": _methods(runs)},
        {"heading": "Runs", "level": 3},
        {"table": _runs(runs, failed)},
        {"heading": "In what else their configurations differ", "level": 3},
        {"table": differences} if differences[1:] else {"text": "In nothing."},
        {"heading": "Versions and devices", "level": 3},
        {"table": environments_table(runs)},
        {"heading": "To run it again", "level": 3},
        {
            "text": "In a checkout; with --data_dir=FOLDER where the prepared data lies elsewhere "
            "than in ~/tensorflow_datasets."
        },
        {"code": commands([*runs, *failed])},
    ]


def commands(runs: Sequence[Mapping]) -> str:
    """Returns shell commands that repeat runs: a function with all they share, a call for each.

    Args:
      runs: each with a "config".
    """
    configs = [run["config"] for run in runs]
    first, *rest = configs
    shared = [k for k in first if all(k in c and c[k] == first[k] for c in rest)]
    head = ["python launch.py", *(_override(name, first[name]) for name in shared)]
    lines = ["again() {", "  " + " \\\n    ".join([*head, '"$@"']), "}"]
    for number, config in enumerate(configs):
        own = [_override(name, config[name]) for name in config if name not in shared]
        name = (
            f"{config['method']['kind']}-{config['model']['fusion']['kind']}-seed{config['seed']}"
        )
        # The number keeps methods of one name with other options apart.
        workdir = shlex.quote(f"--workdir=runs/again/{number:02d}-{name}")
        lines.append(" ".join(["again", *own, workdir]))
    return "\n".join(lines)


def _override(name, value):
    # A text that is no JSON stands for itself, and a string in quotes would keep them.
    return shlex.quote(f"--config.{name}={plain(value)}")


def _facts(runs):
    config, data = runs[0]["config"], runs[0]["data"]
    rows = [
        ["", ""],
        ["data set", f"{data['name']} ({config['data']['kind']})"],
        ["classes", str(len(data["class_names"]))],
        ["modalities", ", ".join(config["modalities"])],
    ]
    for split, analysis in runs[0]["analysis"].items():
        rows.append([f"{split} examples", str(analysis["examples"])])
    for split, own in runs[0]["results"].get("data", {}).items():
        rows.append([f"clips used, {split}", f"{own['used']} of {own['listed']} listed"])
    if data.get("checksum"):
        rows.append(["checksum of the list of clips", data["checksum"]])
    return [
        *rows,
        ["seeds", _several(run["seed"] for run in runs)],
        ["epochs", _several(run["config"]["training"]["epochs"] for run in runs)],
        ["steps", _several(run["log"][-1]["step"] for run in runs)],
        ["batch size", _several(run["config"]["training"]["batch_size"] for run in runs)],
        ["optimizer", _several(run["config"]["optimizer"]["kind"] for run in runs)],
        ["learning rate", _several(run["config"]["optimizer"]["learning_rate"] for run in runs)],
    ]


def _methods(runs):
    groups = {}
    for run in runs:
        groups.setdefault((run["method"], run["fusion"]), []).append(run)
    rows = [["method", "fusion", "options", "seeds"]]
    for (method, fusion), group in groups.items():
        options = flat({k: v for k, v in group[0]["config"]["method"].items() if k != "kind"})
        text = ", ".join(f"{name} {plain(value)}" for name, value in options.items())
        rows.append([method, fusion, text or "none", _several(run["seed"] for run in group)])
    return rows


def _runs(runs, failed):
    rows = [
        [
            "folder",
            "method",
            "fusion",
            "seed",
            "best epoch",
            "step",
            "collapsed",
            "time of steps (s)",
        ]
    ]
    for run in runs:
        results = run["results"]
        best = [str(results[name]) for name in ("epoch", "step")]
        collapsed = ", ".join(results.get("collapsed", [])) or "no"
        rows.append(
            [
                run["folder"],
                run["method"],
                run["fusion"],
                str(run["seed"]),
                *best,
                collapsed,
                _time(run),
            ]
        )
    for run in failed:
        rows.append(
            [run["folder"], run["method"], run["fusion"], str(run["seed"]), "failed", "-", "-", "-"]
        )
    return rows


def _time(run):
    """Returns the seconds that the steps of a run took, waiting included, from its rates."""
    entries = [entry for entry in run["log"] if entry["split"] == "train"]
    if not all("examples_per_second" in entry for entry in entries):
        return "-"
    ends = [0, *(entry["step"] for entry in entries)]
    size = run["config"]["training"]["batch_size"]
    seconds = sum(
        (end - start) * size / entry["examples_per_second"]
        for start, end, entry in zip(ends, ends[1:], entries, strict=False)
    )
    return f"{seconds:.0f}"


def _differences(runs):
    rows = [["field", "value", "runs"]]
    for path, values in differing_fields([run["config"] for run in runs]):
        if path.startswith(_SHOWN):
            continue
        holders = {}
        for run, value in zip(runs, values, strict=True):
            name = f"{run['method']}, {run['fusion']}, seed {run['seed']}"
            holders.setdefault(plain(value), []).append(name)
        rows += [[path, value, "; ".join(names)] for value, names in holders.items()]
    return rows


def environments_table(runs: Sequence[Mapping]) -> list[list[str]]:
    """Returns a table of versions, commits, hosts and devices: all that runs were made with.

    Args:
      runs: each with "environments", what a run has in environments.json.
    """
    entries = [e for run in runs for e in run["environments"]]
    names = dict.fromkeys(name for e in entries for name in e if name != "after_step")
    return [["", ""], *([name, _several(e[name] for e in entries if name in e)] for name in names)]


def _several(values):
    """Returns the different values as text, in the order in which they come."""
    return ", ".join(map(plain, dict.fromkeys(values)))


def plain(value) -> str:
    """Returns a value of a configuration as text."""
    return value if isinstance(value, str) else json.dumps(value)
