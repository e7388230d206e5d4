"""What the recipes of the paper's data sets need of TPU slices, as the TPU compiler says.

    pip install 'tcmax_jax[tpu-plan]'
    python experiments/benchmarks/tpu_plan.py                     # all: up to 5 minutes each
    python experiments/benchmarks/tpu_plan.py --only=crema_d      # those whose name has it
    python experiments/benchmarks/tpu_plan.py --page              # the page alone

Each cell compiles one step of training, and is kept in experiments/results/tpu_plan.json: what is
there is not compiled again, and several processes may share the work. The page is
experiments/results/tpu_plan.md. Neither data nor a TPU is needed, and nothing is measured.
"""

import argparse
import fcntl
import itertools
import json
from pathlib import Path

from tcmax_jax.commands.plan.plan import known, make_plan
from tcmax_jax.commands.plan.slices import MIB, find_slice
from tcmax_jax.evaluation.tables import markdown_table
from tcmax_jax.files import write_atomically
from tcmax_jax.training.config.overrides import load_experiment, override

RECIPES = ("crema_d", "vggsound", "ucf101", "kinetics_sounds", "ave", "mvsa")
TOPOLOGIES = ("v5e:4x4", "v5e:2x2", "v5p:2x4x4")
RESULTS = Path(__file__).parents[1] / "results"
ROWS, PAGE = RESULTS / "tpu_plan.json", RESULTS / "tpu_plan.md"
KEY = ("recipe", "topology", "parallel", "dtype", "sync_batch_norm", "batch_size")
LARGE = ("vggsound", "v5p:2x4x4", "pmap", "bfloat16", True, 4096)  # for the share of the loss


def cells():
    """Returns all cells, those first that differ from the first in one thing alone."""
    axes = (RECIPES, TOPOLOGIES, ("pmap", "shard_map"), ("bfloat16", "float32"), (True, False))
    first = [axis[0] for axis in axes]
    every = itertools.product(*axes)
    ordered = sorted(every, key=lambda x: sum(a != b for a, b in zip(x, first, strict=True)))
    batches = {recipe: load_experiment(recipe).training.batch_size for recipe in RECIPES}
    return [LARGE, *((*cell, batches[cell[0]]) for cell in ordered)]


def read():
    """Returns {cell: plan} of what was compiled before."""
    plans = json.loads(ROWS.read_text()) if ROWS.exists() else []
    return {tuple(plan[name] for name in KEY): plan for plan in plans}


def compile_cell(cell):
    """Returns the plan of a cell."""
    recipe, topology, parallel, dtype, sync, batch = cell
    fields = {
        "training.parallel": parallel,
        "model.dtype": dtype,
        "model.sync_batch_norm": str(sync).lower(),
        "training.batch_size": str(batch),
    }
    config, classes = known(override(load_experiment(recipe), fields), "")
    return make_plan(config, find_slice(topology), classes, brief=True)


def keep(cell, plan):
    """Adds a plan to the file, which other processes may add to as well."""
    with open(__file__) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        plans = read() | {cell: plan}
        ordered = [plans[each] for each in cells() if each in plans]
        lines = ",\n".join(json.dumps(each) for each in ordered)
        write_atomically(ROWS, f"[\n{lines}\n]\n")


PREFACE = """\
# What the recipes need of TPU slices

These are the TPU compiler's numbers (libtpu {libtpu}, jax {jax}) for one chip and one training step
of the recipe: **nothing was measured**, and no TPU was available. Both times are lower bounds:
FLOPs at the chip's peak (for float32 that of bfloat16, in which matrices are multiplied), and HBM
traffic at its peak bandwidth. Exchanges between chips and waiting for data come on top. `sync` is
`model.sync_batch_norm`. The loss is exact TCMax; its share is the difference from a step that
minimises the mean of the logits.

```sh
python experiments/benchmarks/tpu_plan.py && python experiments/benchmarks/tpu_plan.py --page
```

"""


FINDINGS = """\

- Batch normalisation exchanges its statistics once in the forward and once in the backward pass.
  With flax's two exchanges each, CREMA-D on v5e:4x4 had 75 all-reduces (89.6 MB); now it has
  {reduced} and {gathered} all-gathers, which the compiler starts early where it can. Without `sync`
  it has {alone}, and {saved:.0f} % less HBM traffic (pmap, bfloat16). The effect on the time of a
  step was not measured.
- {bound} of {resnets} steps of ResNet-18 take longer at peak bandwidth than at peak FLOP/s.
- The loss with a batch of 4096 and 309 classes, in the first row, is far below 1 % of the step.
- Features are gathered for multilinear heads only: of the heads of the built-in recipe
  (`model.fusion`, v5e:2x2), sum, concat, share_head, concat_msh and cosine have no all-gather,
  low_rank, film and gated have one, bigated has two.
- With features of frozen encoders (mvsa) the loss accounts for {least:.0f} to {most:.0f} % of the
  HBM traffic, because little else is computed.
"""
SYNC = ("crema_d", "v5e:4x4", "pmap", "bfloat16")  # compared with and without


def page(plans):
    """Returns the page about {cell: plan}."""
    titles = ["recipe", "slice", "mapped by", "dtype", "sync", "batch", "memory (MiB of)"]
    titles += ["GFLOP", "HBM traffic (GB)", "ms by FLOP/s", "ms by bandwidth"]
    titles += ["all-reduce", "all-gather", "loss, FLOPs (%)", "loss, HBM traffic (%)"]
    titles += ["examples/s at most"]
    rows = [titles, *map(_row, plans.values())]
    versions = next(iter(plans.values()))["versions"]
    table = markdown_table(rows)
    return f"{PREFACE.format(**versions)}{table}\n{_findings(plans)}\n{_missing(plans)}"


def _findings(plans):
    batch = load_experiment(SYNC[0]).training.batch_size
    sync, alone = (plans[*SYNC, sync, batch]["training"] for sync in (True, False))
    resnets = [plan["training"]["seconds"] for c, plan in plans.items() if c[0] != "mvsa"]
    losses = [100 * plan["loss"]["bytes"] for cell, plan in plans.items() if cell[0] == "mvsa"]
    return FINDINGS.format(
        reduced=sync["collectives"]["all-reduce"]["count"],
        gathered=sync["collectives"]["all-gather"]["count"],
        alone=alone["collectives"]["all-reduce"]["count"],
        saved=100 * (1 - alone["bytes"] / sync["bytes"]),
        bound=sum(seconds["bytes"] > seconds["flops"] for seconds in resnets),
        resnets=len(resnets),
        least=min(losses),
        most=max(losses),
    )


def _missing(plans):
    missing = [cell for cell in cells() if cell not in plans]
    lines = [f"Not compiled: {len(missing)} of {len(cells())} cells.", ""]
    by_slice = itertools.groupby(sorted(missing), key=lambda cell: cell[:2])
    for (recipe, topology), group in by_slice:
        names = [" ".join([*c[2:4], "sync" if c[4] else "no sync"]) for c in group]
        rest = "all" if len(names) == 8 else ", ".join(names)
        lines.append(f"- {recipe} on {topology}: {rest}")
    return "\n".join(lines) + "\n"


def _row(plan):
    step = plan["training"]
    cells = [plan[name] for name in ("recipe", "topology", "parallel", "dtype")]
    cells += ["yes" if plan["sync_batch_norm"] else "no", plan["batch_size"]]
    cells += [f"{step['memory'] / MIB:.0f} of {plan['memory'] / MIB:.0f}"]
    cells += [f"{step[name] / 1e9:.3g}" for name in ("flops", "bytes")]
    cells += [f"{1000 * step['seconds'][name]:.3g}" for name in ("flops", "bytes")]
    for kind in ("all-reduce", "all-gather"):
        each = step["collectives"].get(kind, {"count": 0, "bytes": 0})
        cells.append(f"{each['count']} ({each['bytes'] / 1e6:.3g} MB)" if each["count"] else "0")
    cells += [f"{100 * plan['loss'][name]:.2g}" for name in ("flops", "bytes")]
    cells.append(f"{plan['examples_per_second']:.0f}")
    return list(map(str, cells))


def main():
    """Compiles what is missing, or writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="part of the names of cells to compile")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    options = parser.parse_args()
    if options.page:
        write_atomically(PAGE, page(read()))
        return
    for cell in cells():
        name = " ".join(map(str, cell))
        if options.only in name and cell not in read():
            print(name, flush=True)
            keep(cell, compile_cell(cell))


if __name__ == "__main__":
    main()
