"""Writes what experiments/benchmarks/phase.py measured as a page with maps.

python experiments/benchmarks/phase_page.py phase.json experiments/results
"""

import argparse
import json
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from phase import DIFFICULTIES

from tcmax_jax.evaluation.comparison import interval
from tcmax_jax.evaluation.tables import markdown_table

# (A, B): where A is above B in more than the noise of the seeds.
PAIRS = (
    ("TCMax, additive", "joint, additive"),
    ("TCMax, additive", "ensemble"),
    ("TCMax, bilinear", "joint, bilinear"),
)
_TOLD = ("I(y; a)", "I(y; v)", "I(a; v)", "I(a; v | y)")


def difference(cell: dict, pair: tuple[str, str]) -> dict:
    """Returns the interval of the paired differences of a cell, in points."""
    first, second = (np.array(cell["accuracy"][name]) for name in pair)
    return interval(100 * (first - second))


def wins(cells: list[dict], pair: tuple[str, str]) -> tuple[int, int]:
    """Returns in how many cells the first is above the second, and below, beyond the interval."""
    differences = [difference(cell, pair) for cell in cells]
    clear = [d["mean"] for d in differences if abs(d["mean"]) > d["half_width"]]
    return sum(x > 0 for x in clear), sum(x < 0 for x in clear)


def table(cells: list[dict]) -> str:
    """Returns the accuracies of some cells, a row each."""
    names = list(cells[0]["accuracy"])
    rows = [["redundant", "synergistic", "unique", *_TOLD, "best", *names]]
    for cell in cells:
        unique = 1 - cell["redundancy"] - cell["synergy"]
        told = [f"{cell['information'][name]:.2f}" for name in _TOLD]
        means = [interval(cell["accuracy"][name]) for name in names]
        best = f"{cell['information']['accuracy of both']:.3f}"
        rows.append(
            [f"{cell['redundancy']:g}", f"{cell['synergy']:g}", f"{unique:g}", *told, best]
            + [f"{m['mean']:.3f} ± {m['half_width']:.3f}" for m in means]
        )
    return markdown_table(rows)


def maps(cells: list[dict]):
    """Returns a figure: differences of each pair over redundancy and synergy, by difficulty."""
    difficulties = list(dict.fromkeys(cell["visual"] for cell in cells))
    shares = sorted({cell["redundancy"] for cell in cells})
    size = (3.4 * len(PAIRS), 3.4 * len(difficulties))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(difficulties), len(PAIRS), squeeze=False)
    for row, difficulty in zip(axes, difficulties, strict=True):
        for axis, pair in zip(row, PAIRS, strict=True):
            values = np.full((len(shares), len(shares)), np.nan)
            for cell in cells:
                if cell["visual"] != difficulty:
                    continue
                at = shares.index(cell["synergy"]), shares.index(cell["redundancy"])
                told = difference(cell, pair)
                values[at] = told["mean"]
                clear = abs(told["mean"]) > told["half_width"]
                axis.text(
                    at[1], at[0], f"{told['mean']:+.1f}", ha="center", va="center",
                    weight="bold" if clear else "normal", size=9,
                )  # fmt: skip
            axis.imshow(values, cmap="PuOr", vmin=-15, vmax=15, origin="lower")
            ticks = [f"{share:g}" for share in shares]
            axis.set_xticks(range(len(shares)), ticks)
            axis.set_yticks(range(len(shares)), ticks)
            axis.set_xlabel("redundant share")
            axis.set_ylabel(f"synergistic share ({difficulty})")
            axis.set_title(f"{pair[0]}\nminus {pair[1]}", size=10)
    return figure


def findings(cells: list[dict]) -> list[str]:
    """Returns a sentence for each pair: how often the first is above the second."""
    sentences = []
    for pair in PAIRS:
        above, below = wins(cells, pair)
        sentences.append(
            f"- {pair[0]} is above {pair[1]} in {above} of {len(cells)} cells, below in {below}; "
            f"in {len(cells) - above - below} the 95 % interval of the paired difference contains "
            "0."
        )
    return sentences


def page(measured: dict) -> str:
    """Returns the page as Markdown."""
    cells = measured["cells"]
    parts = [
        "# Where TCMax helps: redundancy, synergy, difficulty",
        "\n".join(findings(cells)),
        f"The built-in set in four classes, {measured['examples']} training examples, "
        f"{measured['epochs']} epochs, {measured['seeds']} seeds, each with its own data; "
        f"`python experiments/benchmarks/phase.py`, {measured['date']}, jax {measured['jax']}, two "
        "CPU cores. Differences in points of test accuracy, bold "
        "where the interval over seeds does not contain 0.",
        "![maps](phase.svg)",
    ]
    for difficulty in dict.fromkeys(cell["visual"] for cell in cells):
        parts += [
            f"## {difficulty.capitalize()}: patterns of {DIFFICULTIES[difficulty][0]} in the sound "
            f"and {DIFFICULTIES[difficulty][1]} in the pictures, to noise of 1",
            "Information in nats; best is the accuracy of the most probable label.",
            table([cell for cell in cells if cell["visual"] == difficulty]),
        ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Writes phase.md, phase.svg and phase.json into a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measured", type=Path, help="the JSON file of phase.py")
    parser.add_argument("folder", type=Path, help="where the page goes")
    asked = parser.parse_args()
    measured = json.loads(asked.measured.read_text())
    (asked.folder / "phase.json").write_text(json.dumps(measured) + "\n")
    (asked.folder / "phase.md").write_text(page(measured))
    matplotlib.rcParams["svg.hashsalt"] = "phase"
    maps(measured["cells"]).savefig(asked.folder / "phase.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
