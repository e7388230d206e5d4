"""Folders of runs that never were: made-up result files, as a training writes them."""

import json

import numpy as np

from tcmax_jax.evaluation.analysis import analyse_splits
from tcmax_jax.evaluation.outputs import Outputs
from tcmax_jax.evaluation.quantities import Condition, without
from tcmax_jax.evaluation.reports.runs import find_folders, read_runs
from tcmax_jax.training.config import Config
from tcmax_jax.training.config.tree import from_dict, to_dict

EPOCHS, STEPS = 3, 4
ENVIRONMENT = {"after_step": 0, "python": "3.11.7", "jax": "0.10.2", "devices": "8 x TPU v4"}


def config(method="joint", fusion="concat", seed=0, changes=None, **options):
    """Returns a configuration as JSON holds it; changes are {section: {field: value}}."""
    tree = to_dict(Config())
    tree |= {"seed": seed, "method": {"kind": method, **options}}
    tree["model"]["fusion"] = fusion
    tree["training"]["epochs"] = EPOCHS
    for section, fields in (changes or {}).items():
        tree[section] |= fields
    return to_dict(from_dict(tree))


def outputs(seed, split, classes=4, examples=60, additive=True, marginal=False):
    """Returns scores that depend on the seed: a good sound, a poor picture, and their sum.

    Where there are no marginals they are those that earlier versions stored.
    """
    rng = np.random.default_rng([seed, len(split)])
    labels = rng.integers(0, classes, examples)
    signal = np.eye(classes)[labels]
    parts = {
        "audio": 2 * signal + rng.normal(size=signal.shape),
        "visual": 0.5 * signal + rng.normal(size=signal.shape),
    }
    scores = {"fused": sum(parts.values())} | (parts if additive else {})
    return Outputs(
        labels=labels,
        scores=scores,
        features={m: x[:, :3] for m, x in parts.items()},
        predicted=_predicted(labels, rng),
        class_names=[f"class {c}" for c in range(classes)],
        dataset="made/1.0.0",
        split=split,
        marginal={(m,): 0.5 * x + np.arange(classes) for m, x in parts.items()} if marginal else {},
    )


def read_found(patterns):
    """Returns what `read_runs` says of the runs that patterns name."""
    folders, studies = find_folders(patterns)
    assert not studies
    return read_runs(folders)


def write_study(folder, field="method.num_negatives", values=(16, None)):
    """Writes the folder of a study of TCMax and joint training, and returns what it holds."""

    def interval(mean, half=0.01):
        return {"mean": mean, "half_width": half, "n": 3}

    def row(method, number):
        baseline = {"method": "joint", "fusion": "concat"}
        own = method.startswith("tcmax")
        return {
            "method": method,
            "fusion": "concat",
            "seeds": [0, 1, 2],
            "failed": [],
            "metrics": {
                "accuracy": interval(0.7654321 + number / 100 + 0.1 * own),
                "recalibrated": interval(0.8123456 + number / 200),
                "cross_entropy": interval(0.3),
                "tc_bound": interval(1.25 + number),
                "accuracy/audio": interval(0.5 + number / 50),
            },
            "difference": interval(0.1) if own and field[:6] != "method" else None,
            "against": baseline if own and field[:6] != "method" else None,
            "cost": {
                "loss": interval(-2.5),
                "seconds_per_step": interval(0.0125),
                "step_memory": interval(3.5, None),
            },
        }

    points = []
    for number, value in enumerate(values):
        if field.startswith("method."):
            rows = [row("tcmax" if value is None else f"tcmax-num_negatives={value}", number)]
        else:
            rows = [row("joint", number), row("tcmax", number)]
        points.append({"value": value, "rows": rows})
    study = {"field": field, "points": points}
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps(study))
    return study


def _predicted(labels, rng):
    """Returns predictions that are right the less often, the harder the condition."""
    shares = {without(["audio"]): 0.4, without(["visual"]): 0.8}
    for m in ("audio", "visual"):
        shares |= {Condition(noisy=m, strength=s): 0.9 - 0.2 * s for s in (0.5, 1, 2)}
    return {c: np.where(rng.random(len(labels)) < p, labels, 0) for c, p in shares.items()}


def write_run(
    folder,
    tree=None,
    *,
    classes=4,
    class_names=None,
    additive=True,
    marginal=False,
    checksum=None,
    name="made/1.0.0",
):
    """Writes the folder of a finished run with a configuration, and returns it."""
    tree = tree or config()
    splits = analyse_splits(
        {
            s: outputs(_number(tree), s, classes, additive=additive, marginal=marginal)
            for s in ("validation", "test")
        }
    )
    metrics = {s: _metrics(analysis) for s, analysis in splits.items()}
    files = {
        "config": tree,
        "data": {
            "name": name,
            "class_names": class_names or [f"class {c}" for c in range(classes)],
            "checksum": checksum,
        },
        "environments": [ENVIRONMENT],
        "analysis": splits,
        "results": {
            "run": folder.name,
            "dataset": name,
            "data": {"train": {"listed": 210, "used": 203}},
            "method": tree["method"]["kind"],
            "seed": tree["seed"],
            "step": 2 * STEPS,
            "epoch": 2,
            "splits": metrics,
            "collapsed": [],
        },
    }
    folder.mkdir(parents=True)
    for file, value in files.items():
        (folder / f"{file}.json").write_text(json.dumps(value))
    lines = [json.dumps(entry) + "\n" for entry in _log(tree, metrics["validation"])]
    (folder / "metrics.jsonl").write_text("".join(lines))
    return folder


def _number(tree):
    """Returns a number that differs between methods, options and seeds."""
    return sum(json.dumps([tree["method"], tree["model"]]).encode()) + 1000 * tree["seed"]


def _metrics(analysis):
    accuracy = dict(analysis["accuracy"])
    return {
        "accuracy": accuracy.pop("fused"),
        "cross_entropy": analysis["cross_entropy"]["fused"],
        "tc_bound": 1 - analysis["cross_entropy"]["fused"],
        **{f"accuracy/{m}": value for m, value in accuracy.items()},
        **{
            f"marginal/accuracy/{m}": value
            for m, value in analysis.get("marginal", {}).get("accuracy", {}).items()
        },
        "probe/audio": analysis["accuracy"]["fused"] / 2,
    }


def _log(tree, metrics):
    for epoch in range(1, tree["training"]["epochs"] + 1):
        step = STEPS * (epoch - 1)
        # Windows of three steps and of one.
        for window in (3, 1):
            step += window
            loss = _number(tree) / 1000 + 1 / step
            entry = {"step": step, "epoch": epoch, "split": "train", "loss": loss}
            yield entry | {"cross_entropy": loss / 7}
        grown = {
            name: value * epoch / tree["training"]["epochs"]
            for name, value in metrics.items()
            if not name.startswith("probe/")
        }
        yield {"step": step, "epoch": epoch, "split": "validation", **grown}
