"""Requirements of a run on a TPU slice: memory, FLOPs, collectives and input throughput."""

import importlib.metadata
import math
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from tcmax_jax.commands.modes import Options, Outcome
from tcmax_jax.commands.plan.cost import Collective, Cost, compile_cost
from tcmax_jax.commands.plan.slices import MIB, Slice, find_slice
from tcmax_jax.commands.recipe import data_folder, recipe_of
from tcmax_jax.commands.stand_in import SOME_CLASSES, stand_in
from tcmax_jax.data.datasets import open_dataset
from tcmax_jax.data.preparation.checks import from_files, resolved
from tcmax_jax.data.preparation.prepare import folder_of
from tcmax_jax.data.prepared import is_prepared
from tcmax_jax.evaluation.tables import text_table
from tcmax_jax.files import json_text, write_atomically
from tcmax_jax.run_folder import RunFolder
from tcmax_jax.training.build import build, with_forms
from tcmax_jax.training.config import Config
from tcmax_jax.training.lowering import lower_encoding, lower_loss, lower_training
from tcmax_jax.training.setup import Setup

_FURTHER = 4  # times the batch, to see how memory grows with it
_MOST = 64  # times the batch: larger ones are not tried
_SMALLER = 0.9  # of a batch that did not fit after all
_TRIES = 4
_PREFIXES = ("", "k", "M", "G", "T", "P")
_WIDTH = 80
_NOTE = (
    "These are the numbers of the TPU compiler (libtpu {libtpu}, jax {jax}); nothing was measured. "
    "The two times are lower bounds; exchanges between chips and waiting for data come on top."
)
_LOOPS = (
    "Operations in a loop count once (loops: {loops}): the true numbers of FLOPs, bytes and "
    "exchanges are larger."
)
_CLASSES = "The number of classes is unknown without the data: {classes} were assumed."


def plan(options: Options) -> Outcome:
    """Plans a recipe on a TPU slice."""
    chips = find_slice(options.topology)
    config, classes = known(recipe_of(options), data_folder(options))
    planned = make_plan(config, chips, classes)
    text = plan_text(planned)
    if options.workdir:
        file = RunFolder(Path(options.workdir)).plan
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json_text(planned) + "\n")
        text += f"\nwritten to {file}"
    return Outcome(text)


def known(config: Config, data_dir: str) -> tuple[Config, int | None]:
    """Returns the configuration with the stored forms of its data, and the number of classes.

    The data need not be there: then that is what is known without it, None for unknown classes.
    """
    try:
        dataset, folder = config.data.open(), None
        if dataset is None and is_prepared(folder := folder_of(config.data, data_dir)):
            dataset = open_dataset(folder, tuple(config.modalities))
        if dataset is not None:
            return with_forms(config, dataset.forms), len(dataset.class_names)
        listing = config.data.list_clips()
        if listing is not None:
            forms = from_files(resolved(config.data, listing))
            return with_forms(config, forms), len(listing.class_names)
    except (ValueError, OSError):  # Its raw data is not here.
        pass
    return config, config.data.known_classes


def make_plan(config: Config, chips: Slice, classes: int | None, *, brief: bool = False) -> dict:
    """Compiles the steps of a run for a slice, and returns their cost.

    Args:
      config: the configuration.
      chips: the slice.
      classes: number of classes; `SOME_CLASSES` are taken if None.
      brief: whether to leave out evaluation and largest batch, which take most of the time.

    Returns:
      Plain data: what was planned, "versions", "memory" (bytes that a chip has), "training" and
      "evaluation" (see `Cost`, of one chip, and "seconds" {"flops", "bytes"} at its peak; None for
      a step that does not fit), "loss" ("flops" and "bytes", shares of the step; "collectives",
      what it adds), "examples_per_second" (of all hosts, at most), "largest_batch" (None if none
      fits).

    Raises:
      ValueError: a batch that the chips cannot share.
    """
    setup = build(config, None, chips.devices, stand_in(config, classes or SOME_CLASSES))
    sizes = config.training
    training = _compile("training", lower_training, setup, sizes.batch_size)
    planned = {
        "recipe": config.name,
        "topology": chips.name,
        "chips": len(chips.devices),
        "hosts": chips.hosts,
        "method": config.method.label(),
        "head": config.model.fusion.label(),
        "classes": classes,
        "batch_size": sizes.batch_size,
        "eval_batch_size": sizes.eval_batch_size,
        "accumulate": sizes.accumulate,
        "dtype": config.model.dtype,
        "parallel": sizes.parallel,
        "sync_batch_norm": config.model.sync_batch_norm,
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "libtpu")},
        "memory": chips.chip.memory,
        "training": _described(training, chips),
    }
    if training is not None:
        planned["loss"] = _loss_share(setup, training)
        seconds = max(planned["training"]["seconds"].values())
        planned["examples_per_second"] = sizes.batch_size / seconds
    if not brief:
        evaluation = _compile("evaluation", lower_encoding, setup, sizes.eval_batch_size)
        planned["evaluation"] = _described(evaluation, chips)
        planned["largest_batch"] = _largest_batch(setup, chips, training)
    return planned


def _compile(name, lower, setup: Setup, rows: int) -> Cost | None:
    _say(f"compiling the step of {name} with a batch of {rows} (may take minutes) ...")
    return compile_cost(lower(setup, rows))


def _described(cost: Cost | None, chips: Slice) -> dict | None:
    if cost is None:
        return None
    seconds = {
        "flops": cost.flops / chips.chip.flops,
        "bytes": cost.bytes / chips.chip.bandwidth,
    }
    exchanges = {kind: each._asdict() for kind, each in cost.collectives.items()}
    return cost._asdict() | {"collectives": exchanges, "seconds": seconds}


def _loss_share(setup: Setup, training: Cost) -> dict:
    _say("compiling the loss by itself ...")
    lowered = lower_loss(setup, setup.config.training.batch_size)
    whole, rest = map(compile_cost, lowered)
    shares = {
        name: max(getattr(whole, name) - getattr(rest, name), 0) / getattr(training, name)
        for name in ("flops", "bytes")
    }
    none = Collective(0, 0)
    counts = {
        kind: each.count - rest.collectives.get(kind, none).count
        for kind, each in whole.collectives.items()
    }
    return shares | {"collectives": {kind: n for kind, n in counts.items() if n > 0}}


def _largest_batch(setup: Setup, chips: Slice, training: Cost | None) -> int | None:
    """Returns about the largest batch that fits, by a few compilations; None if none fits.

    Memory grows linearly with the batch, so two batch sizes predict it. The predicted size is
    compiled, and smaller ones until one fits.
    """
    share = len(chips.devices) * setup.config.training.accumulate
    parts = setup.config.training.batch_size // share if training else 1
    further = _FURTHER * parts
    low = training or _compile("training", lower_training, setup, parts * share)
    if low is None:
        return None
    high = _compile("training", lower_training, setup, further * share)
    if high is None:
        fitting, guess = parts, int(further * _SMALLER)
    else:
        each = max((high.memory - low.memory) / (further - parts), 1)
        predicted = int(parts + (chips.chip.memory - low.memory) / each)
        fitting, guess = further, min(predicted, _MOST * parts)
    for _ in range(_TRIES):
        if guess <= fitting:
            break
        if _compile("training", lower_training, setup, guess * share) is not None:
            return guess * share
        guess = int(guess * _SMALLER)
    return fitting * share


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def plan_text(planned: Mapping) -> str:
    """Returns a plan as text for the terminal."""
    shared = "of all chips" if planned["sync_batch_norm"] else "of each chip"
    hosts = f"{planned['hosts']} host{'s' * (planned['hosts'] > 1)}"
    head = (
        f"{planned['recipe']} on {planned['topology']}: {planned['chips']} chips, {hosts}. "
        f"{planned['method']} with the head {planned['head']}, "
        f"{planned['dtype']}, {planned['parallel']}, batch statistics {shared}."
    )
    steps = [planned["training"], planned["evaluation"]]
    sizes = [planned["batch_size"], planned["eval_batch_size"]]
    rows = [["one chip, one step", "training", "evaluation"]]
    rows.append(["batch, all chips", *map(str, sizes)])
    for title, cell in _ROWS.items():
        rows.append([title, *(cell(planned, step) if step else "" for step in steps)])
    kinds = sorted({kind for step in steps if step for kind in step["collectives"]})
    rows += [[kind, *(_exchange(step, kind) for step in steps)] for kind in kinds]
    notes = [_NOTE.format(**planned["versions"])]
    if loops := max(step["loops"] if step else 0 for step in steps):
        notes.append(_LOOPS.format(loops=loops))
    if planned["classes"] is None:
        notes.append(_CLASSES.format(classes=SOME_CLASSES))
    lines = [*_conclusions(planned), " ".join(notes)]
    wrapped = [textwrap.fill(line, _WIDTH) for line in [head, *lines]]
    return "\n".join([wrapped[0], "", text_table(rows), "", *wrapped[1:]])


def _conclusions(planned):
    if planned["training"] is None:
        yield (
            "The training step does not fit. Raise training.accumulate, lower "
            "training.batch_size, set model.dtype=bfloat16, or take more chips."
        )
    else:
        loss, rate = planned["loss"], planned["examples_per_second"]
        added = ", ".join(f"{n} {kind}" for kind, n in loss["collectives"].items()) or "no exchange"
        yield (
            f"The loss takes {loss['flops']:.2%} of the FLOPs and {loss['bytes']:.2%} of the HBM "
            f"traffic of the training step, and needs {added}."
        )
        yield (
            f"The longer of the two times allows at most {rate:.0f} examples/s; each host then has "
            f"to provide {rate / planned['hosts']:.0f} of them."
        )
    size = planned["largest_batch"]
    yield (
        f"The largest batch found to fit is {size}: extrapolated from the memory of two batch "
        f"sizes, then compiled; more than {_MOST} times the recipe's batch size was not tried."
        if size
        else "Not even one example per chip fits."
    )


def _exchange(step, kind):
    if not step:
        return ""
    each = step["collectives"].get(kind)
    return f"{each['count']}, {_amount(each['bytes'], 'B')}" if each else "0"


def _milliseconds(name):
    return lambda planned, step: f"{1000 * step['seconds'][name]:.3g} ms"


_ROWS = {
    "memory at the peak": lambda planned, step: (
        f"{step['memory'] / MIB:.0f} of {planned['memory'] / MIB:.0f} MiB"
    ),
    "FLOPs": lambda planned, step: _amount(step["flops"], ""),
    "time at peak FLOP/s": _milliseconds("flops"),
    "HBM traffic": lambda planned, step: _amount(step["bytes"], "B"),
    "time at peak bandwidth": _milliseconds("bytes"),
}


def _amount(number, unit):
    prefix = min(int(math.log10(max(number, 1))) // 3, len(_PREFIXES) - 1)
    return f"{number / 1000**prefix:.4g} {_PREFIXES[prefix]}{unit}".rstrip()
